run $BUNDLE --prompts $TMP/folder -o $TMP/x.mp4
