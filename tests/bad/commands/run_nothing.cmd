run $TMP/nothing.bundle --prompt a
