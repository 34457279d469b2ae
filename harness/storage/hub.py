"""Availability of the hub and its repositories, checked within seconds."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

PROBE_SECONDS = 5.0

GATED = "it is gated on the hub: request access there, and log in with `hf auth login`"


def unavailable_reason(repo_id: str, kind: Literal["dataset", "model"]) -> str | None:
    """Return why `repo_id` cannot be fetched from the hub, as a clause; None if it is available.

    Sends one request with a short timeout and without retries, since the hub's clients retry for half a minute.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    httpx = http_client()
    endpoint = constants.ENDPOINT
    api = HfApi(endpoint=endpoint)
    request = api.dataset_info if kind == "dataset" else api.model_info
    try:
        request(repo_id, timeout=PROBE_SECONDS)
    except HFValidationError:
        return "it is neither a hub id nor a folder that exists"
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except GatedRepoError:
        return GATED
    except RepositoryNotFoundError:
        return f"{endpoint} has no {kind} of this id, or it is private (log in with `hf auth login`)"
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            return f"{endpoint} rejects the login (status {status}); log in with a valid token: `hf auth login`"
        return f"{endpoint} answered with status {status}"
    except httpx.TimeoutException:
        return f"{endpoint} did not answer within {PROBE_SECONDS:g} s"
    except httpx.HTTPError as error:
        return f"{endpoint} cannot be reached ({str(error) or type(error).__name__})"
    return None


def download_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of an interrupted download. Callers handle `GatedRepoError`, a subclass, first."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError, http_client().HTTPError, OSError, RuntimeError


def http_client() -> Any:
    """The module of the hub's HTTP client. From huggingface_hub 2 on, it is vendored under different names."""
    utils = import_module("huggingface_hub.utils")
    return utils.httpx if hasattr(utils, "httpx") else import_module("httpx")
