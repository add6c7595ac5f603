inspect $TMP/folder
