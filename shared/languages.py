"""Names of languages: FLORES-200 codes, and the ISO 639 names that other models use for them.

A FLORES-200 code is an ISO 639-3 language and an ISO 15924 script: `arb_Arab`.
"""

_CODES = """
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi
    apc_Arab arb_Arab ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn
    azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva
    bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn
    cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt
    ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn
    fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn gle_Latn glg_Latn grn_Latn
    guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn
    ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn
    kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn
    kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kon_Latn kor_Hang kmr_Latn
    lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn
    lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn
    mkd_Cyrl plt_Latn mlt_Latn mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr
    nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn nya_Latn oci_Latn gaz_Latn
    ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn
    ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh
    slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn
    srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml tat_Cyrl
    tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn
    tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn
    urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn
    yue_Hant zho_Hans zho_Hant zul_Latn
"""
FLORES_200 = tuple(_CODES.split())
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
