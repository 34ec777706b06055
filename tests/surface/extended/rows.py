# ruff: noqa: F821 (names of capi/types.py)
# ---- appended to plue_session/capi/types.py by tests/surface/extended/add.py ----
KINDS += ["thing", "basket"]
DEFINED |= {
    "plue_thing_t": ("/* A handle to a thing. */\ntypedef struct plue_thing *plue_thing_t;\n", None),
    "plue_basket_t": ("/* A handle to a basket. */\ntypedef struct plue_basket *plue_basket_t;\n", None),
    "plue_visit": (
        "/* What is called with each number. */\ntypedef int (*plue_visit)(int64_t number, void *user_data);\n",
        "CFUNCTYPE(c_int, c_int64, c_void_p)",
    ),
}
TYPES |= {
    "Thing": held("thing", "plue_thing_t"),
    "Basket": held("basket", "plue_basket_t"),
    "Place": Crossing("int", "c_int"),
    "Visit": Crossing("int (*{name})(int64_t number, void *user_data)", "plue_visit"),
}
