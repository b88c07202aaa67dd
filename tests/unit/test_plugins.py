"""Plugins: what a distribution may have, and what is refused in a sentence."""

import pytest
from stevedore import ExtensionManager

from os_volume_ext import plugins
from os_volume_ext.backends.base import Backend
from os_volume_ext.catalog.base import VolumeCatalog
from os_volume_ext.errors import ConfigurationError

METHODS = {
    "__init__": "(self, options)",
    "attach": "(self, server, volume, device)",
    "detach": "(self, server, volume, device)",
    "attached": "(self, server)",
    "check": "(self)",
}
OF_CATALOG = {
    "__init__": "(self, options, database)",
    "volume": "(self, context, volume_id)",
    "delete": "(self, *, volume_id, server_id=None, project_id=None)",
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Give ``install(option, source)``: install a distribution whose ``drawer`` is its ``Plugin``."""

    def install(option, source):
        module = f"drawer_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / "drawer-1.5.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: drawer\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[os_volume_ext.{option}s]\ndrawer = {module}:Plugin\n")

    monkeypatch.syspath_prepend(tmp_path)
    # stevedore has caches, in the process and in a file.
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return install


def source(methods, base="backends.base import Backend"):
    lines = [f"    def {name}{signature}: pass" for name, signature in methods.items() if signature]
    name = base.rpartition(" ")[2]
    return "\n".join([f"from os_volume_ext.{base}", f"class Plugin({name}):", *lines, ""])


def test_a_plugin_is_described_by_its_distribution_and_what_it_declares(install):
    install("backend", source(METHODS))
    plugin = plugins.load("backend", "drawer", Backend)
    assert plugin.describe(plugin.make({})).startswith("drawer of drawer 1.5, needs_host is False")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"check": None}, "it lacks check"),
        ({"check": None, "attached": None}, "it lacks attached, check"),
        ({"__init__": "(self)"}, "__init__(self) must take (self, options)"),
        ({"attach": "(self, server, volume)"}, "attach(self, server, volume) must take (self, server, volume, device)"),
        (
            {"detach": "(self, server, volume, device, *, force)"},
            "detach(self, server, volume, device, *, force) must take (self, server, volume, device)",
        ),
        (
            {"attach": '(self, server, volume, device="")'},
            "the device of attach must not be '' by default: one that is not known is None",
        ),
    ],
)
def test_a_backend_for_another_version_is_refused_in_a_sentence(install, changed, sentence):
    install("backend", source(METHODS | changed))
    with pytest.raises(ConfigurationError) as raised:
        plugins.load("backend", "drawer", Backend)
    assert str(raised.value) == f"backend drawer of drawer 1.5 is not for this version of os-volume-ext: {sentence}"


@pytest.mark.parametrize(
    "signature", ["(self, server, volume, device)", "(self, server, volume, device=None)", "(self, *arguments)"]
)
def test_a_method_may_take_the_parameters_in_its_own_way(install, signature):
    install("backend", source(METHODS | {"attach": signature}))
    plugins.load("backend", "drawer", Backend)


def test_a_catalog_is_loaded_too(install):
    install("catalog", source(OF_CATALOG, "catalog.base import VolumeCatalog"))
    plugin = plugins.load("catalog", "drawer", VolumeCatalog)
    assert plugin.describe(plugin.make({}, None)) == "drawer of drawer 1.5, can_delete is False"


def test_a_catalog_whose_delete_takes_no_keywords_is_refused(install):
    methods = OF_CATALOG | {"delete": "(self, volume_id, server_id)"}
    install("catalog", source(methods, "catalog.base import VolumeCatalog"))
    sentence = (
        r"delete\(self, volume_id, server_id\) must take \(self, \*, volume_id, server_id=None, project_id=None\)"
    )
    with pytest.raises(ConfigurationError, match=sentence):
        plugins.load("catalog", "drawer", VolumeCatalog)


@pytest.mark.parametrize("text", ["def Plugin(options): pass\n", "class Plugin: pass\n", "Plugin = None\n"])
def test_what_is_no_backend_is_refused(install, text):
    install("backend", text)
    with pytest.raises(ConfigurationError, match=r"it is not a subclass of os_volume_ext\.backends\.base\.Backend$"):
        plugins.load("backend", "drawer", Backend)


@pytest.mark.parametrize(("text", "reason"), [("import nowhere_installed\n", "nowhere_installed"), ("", "Plugin")])
def test_a_plugin_that_can_not_be_imported_is_reported(install, text, reason):
    install("backend", text)
    with pytest.raises(ConfigurationError, match=f"backend 'drawer' can't be loaded: .*{reason}"):
        plugins.load("backend", "drawer", Backend)


def test_a_name_that_is_not_installed_is_reported_with_those_that_are():
    with pytest.raises(
        ConfigurationError,
        match=r"^backend is 'drawer': installed are cinder, directory, libvirt: choose one, or install its package$",
    ):
        plugins.load("backend", "drawer", Backend)
