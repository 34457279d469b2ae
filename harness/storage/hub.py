"""Whether the hub can be reached, found out in seconds."""

from __future__ import annotations

from importlib import import_module
from typing import Literal

PROBE_SECONDS = 5.0

GATED = "it is gated on the hub: ask for access there, and log in with `hf auth login`"


def unavailable_reason(repo_id: str, kind: Literal["dataset", "model"]) -> str | None:
    """Why `repo_id` cannot be fetched from the hub now, in a clause; None if it can be.

    One request with a short timeout and no retries: the hub's own clients repeat theirs for half a minute.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    httpx = import_module("huggingface_hub.utils").httpx  # its http client, under whichever name it installed it
    endpoint = constants.ENDPOINT
    api = HfApi(endpoint=endpoint)
    ask = api.dataset_info if kind == "dataset" else api.model_info
    try:
        ask(repo_id, timeout=PROBE_SECONDS)
    except HFValidationError:
        return "it is neither a hub id nor a folder that exists"
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE forbids the hub"
    except GatedRepoError:
        return GATED
    except RepositoryNotFoundError:
        return f"{endpoint} has no {kind} of this id, or it is private (`hf auth login` logs in)"
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            return f"{endpoint} refuses the login (status {status}): `hf auth login` logs in with a token that is valid"
        return f"{endpoint} answered with status {status}"
    except httpx.TimeoutException:
        return f"{endpoint} did not answer within {PROBE_SECONDS:g} s"
    except httpx.HTTPError as error:
        return f"{endpoint} cannot be reached ({str(error) or type(error).__name__})"
    return None


def download_errors() -> tuple[type[Exception], ...]:
    """What the hub's clients raise where a download ends before its end; a file that is gated is told apart."""
    from huggingface_hub.errors import HfHubHTTPError

    httpx = import_module("huggingface_hub.utils").httpx
    return HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError
