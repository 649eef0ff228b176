def page(kept):
    return ["."]


def sentences(kept):
    return {}
