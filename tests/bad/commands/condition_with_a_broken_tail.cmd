run $BUNDLE --prompt x --condition tests/bad/media/broken_tail.mp4@0 -o $TMP/x.mp4
