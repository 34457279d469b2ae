"""The reference pages of the Python API: which modules they show. mkdocstrings reads the docstrings."""

from __future__ import annotations

from website.repository_files import ROOT

PYTHON = """# Use from Python: reference

What `import harness` offers to programs and notebooks, and the results and suites that plugins receive.
[Use from Python](../python.md) and [Writing a plugin](../plugins.md) have examples.

"""

PROGRAM_NAMES = (
    "run",
    "RunOptions",
    "SuiteResult",
    "load_results",
    "Results",
    "load_suite",
    "plan",
    "measure_latency",
    "export_student",
    "Exported",
    "tabular_task",
    "Suite",
    "Summary",
    "BoardRow",
)

PLUGIN_MODULES = ("harness.plugin_host.hookspecs", "harness.testing")


def python_page() -> str:
    """The functions and classes of the package for programs that run suites and read results."""
    return PYTHON + "\n".join(f"::: harness.{name}\n" for name in PROGRAM_NAMES)


def plugin_pages() -> dict[str, str]:
    """Path -> page, one for each module that plugins import: those of `harness.api`, the hooks and the test kit."""
    files = sorted(file for file in (ROOT / "harness" / "api").glob("*.py") if file.name != "__init__.py")
    modules = [f"harness.api.{file.stem}" for file in files] + list(PLUGIN_MODULES)
    return {f"reference/api/{module.rpartition('.')[2]}.md": _module_page(module) for module in modules}


def _module_page(module: str) -> str:
    return f"# {module}\n\n::: {module}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}\n"
