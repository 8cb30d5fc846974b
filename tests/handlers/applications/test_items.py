from __future__ import annotations

from handlers.applications.items import all_items, find_item, item_lines


def test_there_are_twenty_ordinary_items_in_nine_groups_and_seven_others():
    ordinary = [item for item in all_items().values() if not item.other]
    assert len(ordinary) == 20
    groups = list(dict.fromkeys(item.group for item in ordinary))
    assert [sum(item.group == group for item in ordinary) for group in groups] == [4, 4, 2, 3, 1, 1, 1, 3, 1]
    assert sum(item.other for item in all_items().values()) == 7


def test_four_items_need_system_settings():
    codes = [item.code for item in all_items().values() if item.settings]
    assert codes == ["business_types", "user_codes", "identification_numbers", "system_settings"]


def test_only_line_and_terminal_items_need_the_sections_of_a_line():
    needing = {item.code: item.needs for item in all_items().values() if item.needs}
    assert needing == dict.fromkeys(("naccs_lines", "naccs_terminals"), ("line", "diagram", "work"))


def test_this_desk_takes_terminals_by_mail():
    assert [item.code for item in all_items().values() if item.by_mail] == ["naccs_terminals"]


def test_an_item_is_found_by_its_name_its_alias_and_with_half_width_brackets():
    for name in ("機器共用（追加・解約）", "機器共用(追加・解約)", "機器共用"):
        item = find_item(name)
        assert item is not None
        assert item.code == "shared_equipment"
    assert find_item("機器") is None


def test_no_two_items_share_a_name():
    items = all_items().values()
    assert len({item.name for item in items}) == len({item.code for item in items}) == 27


def test_items_stand_one_a_line_and_count_once():
    assert item_lines("企業名、事業所名、所在地等\n\n 請求先担当者 \n請求先担当者") == (
        "企業名、事業所名、所在地等",
        "請求先担当者",
    )
