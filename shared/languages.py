"""Names of languages: FLORES-200 codes, what they mean, and what other models call them.

A FLORES-200 code is an ISO 639-3 language and an ISO 15924 script: `arb_Arab`. The English names
are those of the FLORES-200 data set (NLLB Team, "No Language Left Behind", 2022).
"""

from collections.abc import Iterable
from difflib import SequenceMatcher

_LANGUAGES = """
    ace_Arab Acehnese (Arabic script); ace_Latn Acehnese (Latin script);
    acm_Arab Mesopotamian Arabic; acq_Arab Ta'izzi-Adeni Arabic; aeb_Arab Tunisian Arabic;
    afr_Latn Afrikaans; ajp_Arab South Levantine Arabic; aka_Latn Akan; amh_Ethi Amharic;
    apc_Arab North Levantine Arabic; arb_Arab Modern Standard Arabic; ars_Arab Najdi Arabic;
    ary_Arab Moroccan Arabic; arz_Arab Egyptian Arabic; asm_Beng Assamese; ast_Latn Asturian;
    awa_Deva Awadhi; ayr_Latn Central Aymara; azb_Arab South Azerbaijani;
    azj_Latn North Azerbaijani; bak_Cyrl Bashkir; bam_Latn Bambara; ban_Latn Balinese;
    bel_Cyrl Belarusian; bem_Latn Bemba; ben_Beng Bengali; bho_Deva Bhojpuri;
    bjn_Arab Banjar (Arabic script); bjn_Latn Banjar (Latin script); bod_Tibt Standard Tibetan;
    bos_Latn Bosnian; bug_Latn Buginese; bul_Cyrl Bulgarian; cat_Latn Catalan; ceb_Latn Cebuano;
    ces_Latn Czech; cjk_Latn Chokwe; ckb_Arab Central Kurdish; crh_Latn Crimean Tatar;
    cym_Latn Welsh; dan_Latn Danish; deu_Latn German; dik_Latn Southwestern Dinka; dyu_Latn Dyula;
    dzo_Tibt Dzongkha; ell_Grek Greek; eng_Latn English; epo_Latn Esperanto; est_Latn Estonian;
    eus_Latn Basque; ewe_Latn Ewe; fao_Latn Faroese; pes_Arab Western Persian; fij_Latn Fijian;
    fin_Latn Finnish; fon_Latn Fon; fra_Latn French; fur_Latn Friulian; fuv_Latn Nigerian Fulfulde;
    gla_Latn Scottish Gaelic; gle_Latn Irish; glg_Latn Galician; grn_Latn Guarani;
    guj_Gujr Gujarati; hat_Latn Haitian Creole; hau_Latn Hausa; heb_Hebr Hebrew; hin_Deva Hindi;
    hne_Deva Chhattisgarhi; hrv_Latn Croatian; hun_Latn Hungarian; hye_Armn Armenian; ibo_Latn Igbo;
    ilo_Latn Ilocano; ind_Latn Indonesian; isl_Latn Icelandic; ita_Latn Italian; jav_Latn Javanese;
    jpn_Jpan Japanese; kab_Latn Kabyle; kac_Latn Jingpho; kam_Latn Kamba; kan_Knda Kannada;
    kas_Arab Kashmiri (Arabic script); kas_Deva Kashmiri (Devanagari script); kat_Geor Georgian;
    knc_Arab Central Kanuri (Arabic script); knc_Latn Central Kanuri (Latin script);
    kaz_Cyrl Kazakh; kbp_Latn Kabiyè; kea_Latn Kabuverdianu; khm_Khmr Khmer; kik_Latn Kikuyu;
    kin_Latn Kinyarwanda; kir_Cyrl Kyrgyz; kmb_Latn Kimbundu; kon_Latn Kikongo; kor_Hang Korean;
    kmr_Latn Northern Kurdish; lao_Laoo Lao; lvs_Latn Standard Latvian; lij_Latn Ligurian;
    lim_Latn Limburgish; lin_Latn Lingala; lit_Latn Lithuanian; lmo_Latn Lombard;
    ltg_Latn Latgalian; ltz_Latn Luxembourgish; lua_Latn Luba-Kasai; lug_Latn Ganda; luo_Latn Luo;
    lus_Latn Mizo; mag_Deva Magahi; mai_Deva Maithili; mal_Mlym Malayalam; mar_Deva Marathi;
    min_Latn Minangkabau; mkd_Cyrl Macedonian; plt_Latn Plateau Malagasy; mlt_Latn Maltese;
    mni_Beng Meitei; khk_Cyrl Halh Mongolian; mos_Latn Mossi; mri_Latn Maori;
    zsm_Latn Standard Malay; mya_Mymr Burmese; nld_Latn Dutch; nno_Latn Norwegian Nynorsk;
    nob_Latn Norwegian Bokmål; npi_Deva Nepali; nso_Latn Northern Sotho; nus_Latn Nuer;
    nya_Latn Nyanja; oci_Latn Occitan; gaz_Latn West Central Oromo; ory_Orya Odia;
    pag_Latn Pangasinan; pan_Guru Eastern Panjabi; pap_Latn Papiamento; pol_Latn Polish;
    por_Latn Portuguese; prs_Arab Dari; pbt_Arab Southern Pashto; quy_Latn Ayacucho Quechua;
    ron_Latn Romanian; run_Latn Rundi; rus_Cyrl Russian; sag_Latn Sango; san_Deva Sanskrit;
    sat_Beng Santali; scn_Latn Sicilian; shn_Mymr Shan; sin_Sinh Sinhala; slk_Latn Slovak;
    slv_Latn Slovenian; smo_Latn Samoan; sna_Latn Shona; snd_Arab Sindhi; som_Latn Somali;
    sot_Latn Southern Sotho; spa_Latn Spanish; als_Latn Tosk Albanian; srd_Latn Sardinian;
    srp_Cyrl Serbian; ssw_Latn Swati; sun_Latn Sundanese; swe_Latn Swedish; swh_Latn Swahili;
    szl_Latn Silesian; tam_Taml Tamil; tat_Cyrl Tatar; tel_Telu Telugu; tgk_Cyrl Tajik;
    tgl_Latn Tagalog; tha_Thai Thai; tir_Ethi Tigrinya; taq_Latn Tamasheq (Latin script);
    taq_Tfng Tamasheq (Tifinagh script); tpi_Latn Tok Pisin; tsn_Latn Tswana; tso_Latn Tsonga;
    tuk_Latn Turkmen; tum_Latn Tumbuka; tur_Latn Turkish; twi_Latn Twi;
    tzm_Tfng Central Atlas Tamazight; uig_Arab Uyghur; ukr_Cyrl Ukrainian; umb_Latn Umbundu;
    urd_Arab Urdu; uzn_Latn Northern Uzbek; vec_Latn Venetian; vie_Latn Vietnamese; war_Latn Waray;
    wol_Latn Wolof; xho_Latn Xhosa; ydd_Hebr Eastern Yiddish; yor_Latn Yoruba; yue_Hant Yue Chinese;
    zho_Hans Simplified Chinese; zho_Hant Traditional Chinese; zul_Latn Zulu
"""
_ENGLISH = dict(entry.split(maxsplit=1) for entry in _LANGUAGES.split(";"))
_ENGLISH = {code: " ".join(name.split()) for code, name in _ENGLISH.items()}
FLORES_200 = tuple(_ENGLISH)
"""The 202 codes that the NLLB-200 models read and write."""

_MACROLANGUAGES = """
    acm:ara acq:ara aeb:ara ajp:ara apc:ara arb:ara ars:ara ary:ara arz:ara als:sqi ayr:aym
    azb:aze azj:aze ckb:kur dik:din twi:aka fuv:ful gaz:orm khk:mon kmr:kur knc:kau lvs:lav
    nno:nor nob:nor npi:nep ory:ori pbt:pus pes:fas prs:fas plt:mlg quy:que swh:swa taq:tmh
    uzn:uzb ydd:yid yue:zho zsm:msa ind:msa bjn:msa min:msa bos:hbs hrv:hbs srp:hbs
"""
_MACRO = dict(pair.split(":") for pair in _MACROLANGUAGES.split())
"""ISO 639-3 language → the macrolanguage that it belongs to."""

_ISO_639_1 = """
    afr:af aka:ak amh:am ara:ar asm:as aym:ay aze:az bak:ba bam:bm bel:be ben:bn bod:bo
    bos:bs bul:bg cat:ca ces:cs cym:cy dan:da deu:de dzo:dz ell:el eng:en epo:eo est:et
    eus:eu ewe:ee fao:fo fas:fa fij:fj fin:fi fra:fr ful:ff gla:gd gle:ga glg:gl grn:gn
    guj:gu hat:ht hau:ha hbs:sh heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ind:id isl:is
    ita:it jav:jv jpn:ja kan:kn kas:ks kat:ka kau:kr kaz:kk khm:km kik:ki kin:rw kir:ky
    kon:kg kor:ko kur:ku lao:lo lav:lv lim:li lin:ln lit:lt ltz:lb lug:lg mal:ml mar:mr
    mkd:mk mlg:mg mlt:mt mon:mn mri:mi msa:ms mya:my nep:ne nld:nl nno:nn nob:nb nor:no
    nya:ny oci:oc ori:or orm:om pan:pa pol:pl por:pt pus:ps que:qu ron:ro run:rn rus:ru
    sag:sg san:sa sin:si slk:sk slv:sl smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq
    srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th
    tir:ti tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzb:uz vie:vi wol:wo
    xho:xh yid:yi yor:yo zho:zh zul:zu
"""
_TWO_LETTERS = dict(pair.split(":") for pair in _ISO_639_1.split())
"""ISO 639-3 → ISO 639-1, where there is one."""

_SCRIPTS = {"zho_Hans": ("cmn_Hans", "zh_CN"), "zho_Hant": ("cmn_Hant", "zh_TW")}
"""Names that carry a script or a country."""


def names(flores: str) -> tuple[str, ...]:
    """What a model may call this language, the most exact name first.

    >>> names("arb_Arab")
    ('arb_Arab', 'arb', 'ara', 'ar')
    """
    language = flores.partition("_")[0]
    macro = _MACRO.get(language)
    candidates = [flores, *_SCRIPTS.get(flores, ()), language, _TWO_LETTERS.get(language)]
    candidates += [macro, _TWO_LETTERS.get(macro or "")]
    return tuple(dict.fromkeys(name for name in candidates if name))


def english_name(code: str) -> str:
    """What a FLORES-200 code means. Raises KeyError for any other code.

    >>> english_name("arb_Arab")
    'Modern Standard Arabic'
    """
    return _ENGLISH[code]


_RIGHT_TO_LEFT = {"Arab", "Hebr"}  # of the scripts of FLORES-200


def direction(flores: str) -> str:
    """How the language is written: `rtl` or `ltr`."""
    return "rtl" if flores.partition("_")[2] in _RIGHT_TO_LEFT else "ltr"


def web_tag(flores: str) -> str:
    """What HTML's `lang` calls the language: the shortest tag of BCP 47 that says all of it.

    >>> [web_tag(code) for code in ("arb_Arab", "arz_Arab", "zho_Hant")]
    ['ar', 'arz', 'zh-Hant']
    """
    language, _, script = flores.partition("_")
    known = language if language in _TWO_LETTERS else _MACRO.get(language, "")
    meant = language in (known, *_STANDARD)
    tag = _TWO_LETTERS.get(known, language) if meant else language
    scripts = sum(code.startswith(f"{language}_") for code in FLORES_200)
    return f"{tag}-{script}" if scripts > 1 else tag


_STANDARD = {"arb", "azj", "kmr", "nob", "pes", "zho", "zsm"}
"""The languages that a macrolanguage's name means, where its members have no such name."""

_ALIASES = """
    alb:als arm:hye baq:eus bur:mya cantonese:yue castilian:spa chi:zho cmn:zho cze:ces dut:nld
    farsi:pes fil:tgl filipino:tgl flemish:nld fre:fra geo:kat ger:deu gre:ell ice:isl in:ind
    iw:heb ji:ydd mac:mkd mandarin:zho mao:mri may:zsm per:pes punjabi:pan rum:ron slo:slk
    tib:bod wel:cym
"""
_ALIAS = dict(pair.split(":") for pair in _ALIASES.split())
"""Everyday names, the bibliographic codes of ISO 639-2 and withdrawn ones → ISO 639-3."""

_ALIKE = 0.75  # of difflib's ratio: from here on two spellings are taken for one word


def nearest(code: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The codes of `known`, at most n and best first, that somebody who wrote `code` may mean.

    `code` may be another standard's (`ar`, `zh-TW`), have the wrong script, be misspelt, or be
    the language's English name. Empty where nothing is like it.

    >>> nearest("arabic", ["eng_Latn", "arb_Arab", "fra_Latn"])
    ['arb_Arab']
    """
    asked = code.strip().lower().replace("-", "_")
    scores = {each: _likeness(asked, each) for each in known}
    least = 1.0 if max(scores.values(), default=0) >= 1 else _ALIKE
    good = [each for each, score in scores.items() if score >= least]
    standard = {each: each.partition("_")[0] in _STANDARD for each in good}
    return sorted(good, key=lambda each: (-scores[each], not standard[each]))[:n]


def hint(code: str, known: Iterable[str]) -> str:
    """The end of a sentence that refuses a language: those that were perhaps meant."""
    near = nearest(code, known)
    return f"; the nearest: {', '.join(near)}" if near else ""


def _likeness(asked: str, code: str) -> float:
    """How much a word in lower case looks like a name of the language: 1 where it is one, more
    where it is a code for it, 0 where it is nothing like it."""
    called = {name.lower() for name in names(code)}
    if "_" in asked and asked in called:
        return 4.0
    language, _, script = asked.partition("_")
    language = _ALIAS.get(language, language)
    if language in called:
        macro = _MACRO.get(code.partition("_")[0], "")
        inherited = language in (macro, _TWO_LETTERS.get(macro))
        same_script = bool(script) and code.lower().endswith(script)
        return 2.0 + same_script - 0.5 * inherited
    name = _ENGLISH.get(code, "").lower()
    spellings = [name, *name.partition("(")[0].split()]
    if asked in spellings:
        return 1.0
    return max(SequenceMatcher(None, asked, word).ratio() for word in spellings)
