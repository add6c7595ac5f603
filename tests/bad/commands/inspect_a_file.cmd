inspect $TMP/file
