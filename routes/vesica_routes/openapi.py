"""Pieces of the OpenAPI document that FastAPI cannot know: bodies that are read by hand, and the problems of each
path.
"""

from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from vesica.sealed import MEDIA_TYPE
from vesica_routes import wire
from vesica_routes.problems import PROBLEM

_CSV_EXAMPLE: Final = "email\nana@example.org\nbo@example.org\n"

CSV_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
            "text/csv": {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["csv_file"],
                    "additionalProperties": False,
                    "properties": {"csv_file": {"type": "string", "format": "binary"}},
                }
            },
        },
    },
}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The request body of a path that reads JSON by itself."""
    schema = model.model_json_schema()
    examples = schema.pop("examples", [])
    content: dict[str, Any] = {"schema": schema}
    if examples:
        content["examples"] = {str(i + 1): {"value": example} for i, example in enumerate(examples)}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a path may answer with."""
    # Not as ``model``, which FastAPI would show as application/json too.
    content = {PROBLEM: {"schema": wire.Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
