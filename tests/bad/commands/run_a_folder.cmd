run $TMP/folder --prompt a
