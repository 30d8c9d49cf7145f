from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pgsched.web.dashboard.shown import NAVIGATION
from pgsched.web.svg.icons import FOLDER, icon


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.svg")))
def test_icon_is_well_formed_and_hidden_from_those_who_listen(name: str) -> None:
    svg = ElementTree.fromstring(icon(name))
    assert (svg.get("aria-hidden"), svg.get("viewBox"), len(svg) > 0) == ("true", "0 0 24 24", True)


def test_every_page_of_the_navigation_has_an_icon_and_the_licence_is_there() -> None:
    for _, _, _, name in (page for pages in NAVIGATION.values() for page in pages):
        icon(name)
    assert "ISC License" in (FOLDER / "LICENSE").read_text()
