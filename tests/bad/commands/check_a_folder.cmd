check $TMP/folder
