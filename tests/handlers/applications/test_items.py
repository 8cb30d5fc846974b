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


def test_three_items_have_a_screen_and_every_other_one_a_section_of_its_own():
    needing = {item.code: item.needs for item in all_items().values() if not item.has_section}
    parts = ("line", "diagram", "work")
    assert needing == {"naccs_lines": parts, "naccs_terminals": parts, "attached_files": ("files",)}


def test_the_examples_of_every_item_are_a_change():
    for item in all_items().values():
        assert bool(item.before and item.after) == item.has_section
        assert item.before != item.after or not item.has_section


def test_every_other_item_but_the_end_of_the_contract_asks_for_an_inquiry():
    assert [item.code for item in all_items().values() if item.other and not item.inquiry] == ["cancellation"]
    assert not any(item.inquiry for item in all_items().values() if not item.other)


def test_company_data_and_exports_are_told_of():
    told = {item.code: (*item.warnings, *([item.notice] if item.notice else [])) for item in all_items().values()}
    assert {code: codes for code, codes in told.items() if codes} == {
        "office_names": ("all_offices",),
        "contract_holder": ("all_offices",),
        "head_office": ("all_offices",),
        "business_types": ("export_control",),
    }


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
