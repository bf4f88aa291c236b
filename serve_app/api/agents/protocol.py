"""The tools in the Model Context Protocol, by its official SDK. It is imported when an agent first calls."""

import logging
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from deployments.common.marks import GENERATOR, generator_version
from serve_app.api.agents import tools
from serve_app.api.agents.calls import Calls, ToolAnswer
from serve_app.api.errors import places_of

logger = logging.getLogger("ray.serve")

INSTRUCTIONS = (
    "This server makes music with ACE-Step 1.5. A call makes a job and tells its progress; the answer has "
    "links to the songs, and their paths for further tools. A job goes on when its call is cut off: "
    "`follow_job` finds it again by its id."
)


def mcp_server(calls: Calls) -> Server[Any]:
    """A server of the protocol whose tools are `calls`."""
    listed = _tools(calls)

    async def list_tools(
        _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        async def tell(progress: float, text: str) -> None:
            await context.session.report_progress(progress, 1.0, text)

        assert context.request is not None  # every call comes by HTTP
        if params.name not in {tool.name for tool in listed}:
            raise MCPError(types.INVALID_PARAMS, "There is no such tool")
        try:
            answer = await calls.call(params.name, params.arguments or {}, context.request, tell)
        except Exception as error:
            logger.error("the tool %s failed:\n%s", params.name, places_of(error))
            logger.debug("the exception in full", exc_info=error)
            answer = ToolAnswer("Internal server error.", is_error=True)
        return _result(answer)

    return Server(
        GENERATOR,
        version=generator_version(),
        title="ACE-Step music",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _tools(calls: Calls) -> list[types.Tool]:
    making = [
        types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.input_schema(calls.limits),
            annotations=types.ToolAnnotations(read_only_hint=False, destructive_hint=False),
        )
        for tool in tools.MAKING_TOOLS.values()
    ]
    follow = types.Tool(
        name=tools.FOLLOW,
        title=tools.FOLLOW_TITLE,
        description=tools.FOLLOW_DESCRIPTION,
        input_schema=tools.Following.model_json_schema(),
        annotations=types.ToolAnnotations(read_only_hint=True),
    )
    cancel = types.Tool(
        name=tools.CANCEL,
        title=tools.CANCEL_TITLE,
        description=tools.CANCEL_DESCRIPTION,
        input_schema=tools.Cancelling.model_json_schema(),
        annotations=types.ToolAnnotations(destructive_hint=True, idempotent_hint=True),
    )
    return [*making, follow, cancel]


def _result(answer: ToolAnswer) -> types.CallToolResult:
    links = [
        types.ResourceLink(name=song.name, uri=song.url, mime_type=song.media_type) for song in answer.songs
    ]
    return types.CallToolResult(
        content=[types.TextContent(text=answer.text), *links],
        structured_content=answer.facts,
        is_error=answer.is_error,
    )
