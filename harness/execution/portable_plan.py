"""Serializes a plan and its jobs for another process, which may run on another machine.

A job refers to classes of plugins, which pickle stores by module name. The modules of plugin files exist only once a
host has loaded them. A payload therefore holds the plugin paths and the pickled plan; `load` creates the host first.
Data sets are stored by content, because the files that they memory-map may not exist elsewhere.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetInfo, Features
from datasets.table import InMemoryTable

from harness.plugin_host import discovery
from harness.plugin_host.host import Host


@dataclass(frozen=True)
class _Payload:
    """`modules`: path of a plugin -> the names of its modules, see `discovery.module_names`."""

    modules: Mapping[str, Mapping[str, str]]
    content: bytes


def dump(content: object, host: Host, files: Collection[Path] = ()) -> bytes:
    """Serialize a plan, or a plan with other objects, and the paths of the plugins that they need.

    `files`: paths in `content` that may be at another place where the payload is loaded.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, frozenset(files)).dump(content)
    modules = {path: discovery.module_names(Path(path)) for path in host.paths}
    return pickle.dumps(_Payload(modules, buffer.getvalue()))


def load(payload: bytes, places: Mapping[str, Path] | None = None) -> tuple[Any, Host]:
    """Restore a payload of `dump`, in any process that can read the plugin files.

    Load only payloads that you trust: unpickling executes code.

    Args:
        payload: the payload.
        places: path of a plugin or of one of the `files` of `dump` -> where it is here. Default: at the same place.

    Raises:
        UserError: a plugin file is missing or broken.
    """
    places = places or {}
    header: _Payload = pickle.loads(payload)
    paths = {path: places.get(path, Path(path)) for path in header.modules}
    host = Host.create(list(paths.values()))
    renamed: dict[str, str] = {}
    for path, modules in header.modules.items():
        here = discovery.module_names(paths[path])
        renamed |= {module: here[place] for place, module in modules.items()}
    return _Unpickler(io.BytesIO(header.content), places, renamed).load(), host


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, files: frozenset[Path]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.files = files

    def persistent_id(self, item: Any) -> str | None:
        return str(item) if isinstance(item, Path) and item in self.files else None

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, Dataset):
            table = item.with_format("arrow")[:]
            return _dataset, (table, item.features, item._fingerprint)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, places: Mapping[str, Path], renamed: Mapping[str, str]) -> None:
        super().__init__(file)
        self.places = places
        self.renamed = renamed

    def persistent_load(self, path: str) -> Path:
        return self.places.get(path, Path(path))

    def find_class(self, module: str, name: str) -> Any:
        plugin, dot, submodule = module.partition(".")
        return super().find_class(f"{self.renamed.get(plugin, plugin)}{dot}{submodule}", name)


def _dataset(table: Any, features: Features, fingerprint: str) -> Dataset:
    return Dataset(InMemoryTable(table), info=DatasetInfo(features=features), fingerprint=fingerprint)
