"""What handles each HTTP method of each resource, in each version of the API."""

import pytest

from os_volume_ext.api.controller import Controller
from os_volume_ext.api.endpoints import ENDPOINTS, Endpoint, effective, endpoints_of
from os_volume_ext.api.queries import COMMON_PARAMS, LIST_PARAMS
from os_volume_ext.policy import RULES

by_dialect = pytest.mark.parametrize("dialect", ENDPOINTS)


def handlers(endpoints):
    return {
        resource: {method: endpoint.handler for method, endpoint in methods.items()}
        for resource, methods in endpoints.items()
    }


def every_endpoint():
    for resources in ENDPOINTS.values():
        for methods in resources.values():
            for by_minor in methods.values():
                for endpoint in by_minor.values():
                    yield from (endpoint, endpoint.other_volume) if endpoint.other_volume else (endpoint,)


@by_dialect
def test_each_resource_has_its_methods(dialect):
    put = {"openstack": {"PUT": Controller.swap}, "cyclades": {}}[dialect]
    assert handlers(endpoints_of(dialect, 1)) == {
        "collection": {"GET": Controller.index, "POST": Controller.create},
        "member": {"GET": Controller.show, "DELETE": Controller.delete} | put,
    }


@by_dialect
def test_every_endpoint_exists_from_the_first_version_on(dialect):
    assert all(min(by_minor) == 1 for methods in ENDPOINTS[dialect].values() for by_minor in methods.values())


def test_every_action_is_a_policy_rule_and_the_name_of_the_controllers_method():
    assert {endpoint.action for endpoint in every_endpoint()} == RULES.keys()
    assert all(endpoint.handler is getattr(Controller, endpoint.action) for endpoint in every_endpoint())


def test_the_cyclades_dialect_ignores_members_and_query_parameters():
    endpoints = [each for methods in endpoints_of("cyclades", 1).values() for each in methods.values()]
    assert [each.params for each in endpoints] == [None] * 4
    assert [each.members for each in endpoints] == [None, {}, None, None]


@pytest.mark.parametrize(
    ("minor", "members"),
    [
        (1, ["device"]),
        (48, ["device"]),
        (49, ["device", "tag"]),
        (78, ["device", "tag"]),
        (79, ["device", "tag", "delete_on_termination"]),
        (104, ["device", "tag", "delete_on_termination"]),
    ],
)
def test_an_attach_may_have_the_members_of_its_version(minor, members):
    assert list(endpoints_of("openstack", minor)["collection"]["POST"].members) == members


@pytest.mark.parametrize("minor", [1, 84])
def test_a_put_swaps_before_2_85(minor):
    assert endpoints_of("openstack", minor)["member"]["PUT"] == Endpoint(Controller.swap, "swap", members={})


@pytest.mark.parametrize("minor", [85, 104])
def test_a_put_updates_from_2_85_on_and_swaps_if_it_names_another_volume(minor):
    put = endpoints_of("openstack", minor)["member"]["PUT"]
    assert (put.handler, put.action) == (Controller.update, "update")
    assert list(put.members) == ["device", "tag", "delete_on_termination", "id", "serverId"]
    assert put.other_volume == Endpoint(Controller.swap, "swap", members=put.members)


@pytest.mark.parametrize(
    ("minor", "of_list", "of_one"),
    [(74, None, None), (75, LIST_PARAMS, None), (101, LIST_PARAMS, None), (102, LIST_PARAMS, COMMON_PARAMS)],
)
def test_the_query_is_checked_from_2_75_on_in_a_list_and_from_2_102_on_elsewhere(minor, of_list, of_one):
    endpoints = endpoints_of("openstack", minor)
    assert (endpoints["collection"]["GET"].params, endpoints["member"]["GET"].params) == (of_list, of_one)
    assert endpoints["collection"]["POST"].params is endpoints["member"]["DELETE"].params is None


@pytest.mark.parametrize(("minor", "value"), [(1, "a"), (4, "a"), (5, "b"), (99, "b")])
def test_a_version_has_the_last_value_before_it(minor, value):
    assert effective({1: "a", 5: "b"}, minor) == value
