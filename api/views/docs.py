"""/openapi.json and /docs: the API's own description."""

from typing import cast

from flask import Blueprint, Response, current_app, jsonify, redirect
from flask_openapi import OpenAPI
from flask_openapi_swagger.plugins import RegisterPlugin

api = Blueprint("docs", __name__)
page = RegisterPlugin.register(doc_url="../openapi.json")  # ships its scripts: works offline


@api.get("/openapi.json")
def document() -> Response:
    return jsonify(cast(OpenAPI, current_app).api_doc)


@api.get("/docs")
def docs() -> Response:
    return cast(Response, redirect("docs/swagger"))
