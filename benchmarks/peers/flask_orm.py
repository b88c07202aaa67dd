"""Showing an attachment in Flask, with SQLAlchemy's ORM and oslo.policy."""

from io import BytesIO
from typing import Any

from flask import Flask, abort, request
from oslo_config.cfg import ConfigOpts
from oslo_policy.policy import Enforcer, Rules
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.wrappers import Response

from benchmarks.harness import WSGIApp

RULE = "os-volumes-attachments:show"


class Base(DeclarativeBase):
    pass


class Attachment(Base):
    __tablename__ = "attachments"

    volume_id: Mapped[str] = mapped_column(primary_key=True)
    server_id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    device: Mapped[str | None]
    state: Mapped[str]


def make_app(compute: WSGIApp, url: str) -> Flask:
    """Return the application.

    :param compute: the compute API, which has the servers.
    :param url: the database's.
    """
    app = Flask(__name__)
    engine = create_engine(url)
    conf = ConfigOpts()
    conf([])
    rules = Rules.from_dict({RULE: "role:admin or project_id:%(project_id)s"})
    enforcer = Enforcer(conf, rules=rules, use_conf=False)  # like the filter, without a policy file

    @app.get("/servers/<server_id>/os-volume_attachments/<volume_id>")
    def show(server_id: str, volume_id: str) -> Any:
        server = find_server(compute, server_id)
        if not enforcer.enforce(RULE, {"project_id": server["tenant_id"]}, credentials()):
            abort(403)
        with Session(engine) as session:
            row = session.get(Attachment, (volume_id, server_id))
        if row is None or row.state == "attaching":
            abort(404)
        shown = {"device": row.device, "serverId": row.server_id, "id": row.volume_id, "volumeId": row.volume_id}
        return {"volumeAttachment": shown}, {
            "X-Openstack-Request-Id": request.environ["openstack.request_id"],
            "Vary": "Accept, X-Auth-Token",
            "Cache-Control": "no-cache, no-store, must-revalidate",
        }

    return app


def find_server(compute: WSGIApp, server_id: str) -> dict[str, Any]:
    sub_request = {
        **request.environ,
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/servers/{server_id}",
        "wsgi.input": BytesIO(),
    }
    response = Response.from_app(compute, sub_request)
    if response.status_code != 200:
        abort(response.status_code)
    return response.get_json()["server"]


def credentials() -> dict[str, Any]:
    headers = request.headers
    if headers.get("X-Identity-Status") != "Confirmed":
        abort(401)
    return {
        "user_id": headers["X-User-Id"],
        "project_id": headers["X-Project-Id"],
        "roles": headers["X-Roles"].split(","),
    }
