"""metarim-lite: agents of recurrent independent mechanisms; modules learn fast, attention learns slowly."""
