"""Names of languages, and what somebody may have meant."""

import pytest

from shared.languages import FLORES_200, direction, english_name, nearest, web_tag


def test_every_code_has_an_english_name_of_its_own() -> None:
    names = [english_name(code) for code in FLORES_200]
    assert len(set(names)) == len(FLORES_200) == 202
    assert all(name == name.strip() and name[0].isupper() for name in names)
    assert english_name("arb_Arab") == "Modern Standard Arabic"
    assert english_name("zho_Hant") == "Traditional Chinese"
    assert english_name("quy_Latn") == "Ayacucho Quechua"
    with pytest.raises(KeyError):
        english_name("xyz_Latn")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("ar", "arb_Arab"),
        ("ara", "arb_Arab"),
        ("arabic", "arb_Arab"),
        ("ARB_arab", "arb_Arab"),
        ("en", "eng_Latn"),
        ("eng", "eng_Latn"),
        ("en-US", "eng_Latn"),
        ("eng_Arab", "eng_Latn"),
        ("English", "eng_Latn"),
        ("Frech", "fra_Latn"),
        ("fre_Latn", "fra_Latn"),
        ("zh", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("zh_Hant", "zho_Hant"),
        ("Chinese", "zho_Hans"),
        ("pt_BR", "por_Latn"),
        ("no", "nob_Latn"),
        ("fa", "pes_Arab"),
        ("farsi", "pes_Arab"),
        ("kurdish", "kmr_Latn"),
        ("iw", "heb_Hebr"),
        ("swahilli", "swh_Latn"),
    ],
)
def test_the_nearest_is_what_was_meant(asked: str, meant: str) -> None:
    assert nearest(asked, FLORES_200)[0] == meant


def test_only_known_languages_are_named() -> None:
    assert nearest("arabic", ["eng_Latn", "fra_Latn"]) == []
    assert nearest("arabic", ["arz_Arab", "eng_Latn"]) == ["arz_Arab"]
    assert nearest("zho_Hant", ["zho_Hans", "jpn_Jpan"]) == ["zho_Hans"]
    assert nearest("ar", []) == []


@pytest.mark.parametrize("asked", ["", "xyz_Latn", "klingon", "_", "12"])
def test_nothing_is_near_what_is_no_language(asked: str) -> None:
    assert nearest(asked, FLORES_200) == []


def test_at_most_n_are_named() -> None:
    assert nearest("kas_Latn", FLORES_200) == ["kas_Arab", "kas_Deva"]
    assert [len(nearest("arabic", FLORES_200, n)) for n in (1, 3, 5)] == [1, 3, 5]


@pytest.mark.parametrize(
    ("flores", "tag", "written"),
    [
        ("eng_Latn", "en", "ltr"),
        ("arb_Arab", "ar", "rtl"),
        ("arz_Arab", "arz", "rtl"),
        ("heb_Hebr", "he", "rtl"),
        ("pes_Arab", "fa", "rtl"),
        ("urd_Arab", "ur", "rtl"),
        ("ckb_Arab", "ckb", "rtl"),
        ("zho_Hant", "zh-Hant", "ltr"),
        ("kas_Arab", "ks-Arab", "rtl"),
        ("yue_Hant", "yue", "ltr"),
    ],
)
def test_what_html_calls_a_language(flores: str, tag: str, written: str) -> None:
    assert (web_tag(flores), direction(flores)) == (tag, written)
