run $BUNDLE --prompt a -o $TMP/a.mp4 --frames 18446744073709551615
