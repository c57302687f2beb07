"""The chat example in a browser that can reach only the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from app.embedded.server import LoopbackServer
from tests.support.browser import Page, opened_page
from tests.support.stack import Stack, until

in_a_browser = [pytest.mark.needs_node, pytest.mark.needs_chromium, pytest.mark.needs_demo, pytest.mark.timeout(120)]


def words(count: int) -> str:
    return " ".join(f"tok{number}" for number in range(count))


@asynccontextmanager
async def chatting(stack: Stack, url: str | None = None) -> AsyncIterator[Page]:
    """Sign in on the page, in the default conversation of a new agent."""
    agent_id = await stack.make_agent()
    async with opened_page(url or stack.url) as page:
        await page.do("open", path=f"/demo/#/{agent_id}")
        await page.click("Sign in as Ada (development)")
        await page.do("see", selector=".message.SystemMessage")
        yield page


class Wire:
    """A proxy between the browser and the gateway, which can cut all connections at once."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._ends: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.cut()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends |= {writer, far_writer}
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()


async def standing(page: Page) -> list[dict[str, Any]]:
    """Return the messages once no turn is in progress."""
    await page.do("see", selector=".message.AssistantMessage:not(.live)")
    await page.gone(".live, .note")
    return await page.read(".message")


async def fresh(page: Page) -> list[dict[str, Any]]:
    """Return the messages as a newly opened page shows them."""
    await page.do("reload")
    return await standing(page)


def said(messages: list[dict[str, Any]], kind: str) -> list[str]:
    return [message["text"] for message in messages if kind in message["kind"]]


class TestInABrowser:
    pytestmark = in_a_browser

    async def test_a_streamed_answer_equals_that_of_a_reloaded_page(self, stack: Stack) -> None:
        async with chatting(stack) as page:
            before = len(await page.do("asked"))
            await page.say("hi [[tokens=40 delay=0.03 reasoning=1 tool=find_order]]")
            await page.see("tok3", ".live.AssistantMessage")
            await page.see("They want something", ".live.ReasoningMessage")
            streamed = await standing(page)
            assert (await page.do("asked"))[before:] == ["SendMessage", "FollowStream"]  # nothing was read again
            kinds = [message["kind"].removeprefix("message ") for message in streamed]
            turn = ["UserMessage", "ToolCallMessage", "ToolReturnMessage", "ReasoningMessage", "AssistantMessage"]
            assert kinds == ["SystemMessage", *turn]
            assert words(40) in streamed[-1]["text"]
            assert await fresh(page) == streamed

    async def test_a_page_reloaded_during_an_answer_shows_it_once(self, stack: Stack) -> None:
        async with chatting(stack) as page:
            before = (await stack.model_stats())["total"]
            await page.say("hi [[tokens=80 delay=0.05]]")
            await page.see("tok9", ".live.AssistantMessage")
            await page.do("reload")
            await page.see("tok9", ".live.AssistantMessage")
            await page.see("hi [[tokens=80", ".UserMessage")
            messages = await standing(page)
            assert [text.count(words(80)) for text in said(messages, "AssistantMessage")] == [1]
            assert len(said(messages, "UserMessage")) == 1
            assert (await stack.model_stats())["total"] == before + 1
            assert await fresh(page) == messages

    async def test_a_disconnected_page_continues_from_its_cursor(self, stack: Stack) -> None:
        wire = Wire(stack.url)
        async with wire.laid() as url, chatting(stack, url) as page:
            await page.say("hi [[tokens=80 delay=0.05]]")
            await page.see("tok9", ".live.AssistantMessage")
            wire.cut()
            messages = await standing(page)
            assert [text.count(words(80)) for text in said(messages, "AssistantMessage")] == [1]
            assert (await page.do("asked")).count("FollowStream") == 2
            assert await fresh(page) == messages

    async def test_stop_cancels_the_model_call(self, stack: Stack) -> None:
        async with chatting(stack) as page:
            before = await stack.model_stats()
            await page.say("hi [[tokens=900 delay=0.05]]")
            await page.see("tok3", ".live.AssistantMessage")
            assert (await stack.model_stats())["inflight"] == before["inflight"] + 1
            await page.click("Stop")
            await page.see("Stopped.", ".note")

            async def stopped() -> bool:
                now = await stack.model_stats()
                return now["disconnected"] == before["disconnected"] + 1 and now["inflight"] == before["inflight"]

            await until(stopped)

    @pytest.mark.parametrize(("decision", "words"), [("Approve", "I have called"), ("Deny", "I leave")])
    async def test_a_tool_call_can_be_approved_or_denied(self, stack: Stack, decision: str, words: str) -> None:
        async with chatting(stack) as page:
            await page.say("Please [[tool=send_mail approve=1]]")
            await page.see("Asks to call send_mail", ".ApprovalRequestMessage")
            await page.see("May the agent do this?")
            await page.do("reload")  # a decision can be taken at any time
            await page.do("see", role="button", name=decision)
            await page.do("fill", selector="fieldset input", text="as you wish")
            await page.click(decision)
            await page.see(words, ".AssistantMessage")
            await page.gone("fieldset")
            messages = await standing(page)
            [answer] = said(messages, "ApprovalResponseMessage")
            assert answer.startswith("Approved" if decision == "Approve" else "Denied")
            assert await fresh(page) == messages

    async def test_a_page_recovers_after_letta_was_down(self, stack: Stack) -> None:
        async with chatting(stack) as page:
            letta = stack.servers["letta"]
            await letta.stop()
            await page.say("Are you there? [[tokens=3]]")
            await page.do("see", selector=".banner[data-down=LETTA]")
            await page.do("see", selector=".composer .problem")
            await page.do("reload")
            await page.do("see", selector=".banner[data-down=LETTA]")
            await page.do("see", selector="nav > ul > li > a")  # the gateway has repeated the calls to Letta
            assert len(await page.read("nav > ul > li > a")) == 4  # what AMS knows of the agents is there all the same
            assert await page.do("value", label="Your message") == "Are you there? [[tokens=3]]"
            await page.do("see", selector="main .problem")
            asked = await page.do("asked")
            assert max(asked.count(name) for name in asked if name != "Platform") <= 6, asked  # no storm
            again = LoopbackServer(stack.platform.service("letta"), int(letta.url.rpartition(":")[2]))
            stack.servers["letta"] = again
            await again.start()
            await page.gone(".banner")
            await page.do("see", selector=".message.SystemMessage")
            await page.do("press", label="Your message", key="Enter")
            assert words(3) in (await standing(page))[-1]["text"]

    async def test_a_draft_is_kept_while_the_conversation_is_busy(self, stack: Stack) -> None:
        async with chatting(stack) as page:
            await page.say("first [[tokens=900 delay=0.05]]")
            await page.see("tok3", ".live.AssistantMessage")
            await page.say("second [[tokens=3]]")
            await page.see("still busy with another message", ".composer")
            assert await page.do("value", label="Your message") == "second [[tokens=3]]"
            await page.click("Stop it and send")
            await page.see("second [[tokens=3]]", ".UserMessage")
            assert words(3) in (await standing(page))[-1]["text"]
            assert await page.do("value", label="Your message") == ""

    async def test_a_draft_is_kept_over_a_new_sign_in(self, stack: Stack) -> None:
        async with chatting(stack) as page:
            await page.do("fill", label="Your message", text="a thought of mine")
            expired = stack.token(lifetime_seconds=-3600)
            await page.do("evaluate", script=f"sessionStorage.setItem('chat:token', '{expired}')")
            await page.do("reload")
            await page.see("Your sign-in has expired", "dialog")
            await page.click("Sign in as Ada (development)")
            await page.gone("dialog")
            await page.do("see", selector=".message.SystemMessage")
            assert await page.do("value", label="Your message") == "a thought of mine"
