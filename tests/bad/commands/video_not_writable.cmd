run $BUNDLE --prompt a -o /proc/never/a.mp4
