from __future__ import annotations

from resolvers.paging import Page, Window, page


def paged(items: list[str], window: Window, written: list[str]) -> Page[str]:
    def write(item: str) -> str:
        written.append(item)
        return f"<{item}>"

    return page(items, write, window, more=True)


def test_cursors_are_made_only_if_they_are_read() -> None:
    written: list[str] = []
    shown = paged(["a", "b", "c"], Window(size=3), written)
    assert (shown.nodes, [edge.node for edge in shown.edges]) == (["a", "b", "c"], ["a", "b", "c"])
    assert written == []
    assert (shown.page_info.start_cursor, shown.page_info.end_cursor) == ("<a>", "<c>")
    assert [edge.cursor for edge in shown.edges] == ["<a>", "<b>", "<c>"]


def test_an_empty_page_has_no_cursors() -> None:
    info = paged([], Window(size=3, cursor="x"), []).page_info
    assert (info.start_cursor, info.end_cursor) == (None, None)
    assert (info.has_next_page, info.has_previous_page) == (True, True)


def test_the_direction_decides_where_more_nodes_are() -> None:
    forwards, backwards = (paged(["a"], Window(size=1, backward=backward), []) for backward in (False, True))
    assert (forwards.has_next_page, forwards.has_previous_page) == (True, False)
    assert (backwards.has_next_page, backwards.has_previous_page) == (False, True)
