run $BUNDLE --prompts $TMP/none.txt -o $TMP/x.mp4
