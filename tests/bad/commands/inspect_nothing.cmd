inspect $TMP/nothing
