completions sh
