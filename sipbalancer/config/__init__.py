"""THE FILE: text to frozen values. Opens no file itself."""
