-- What `luarocks test` runs: the tests of the checkout, without set-up.
os.exit(os.execute("make check") == true, true)
