-- Names and messages that hurt careless writers of XML and TAP.
describe("a <b> & \"c\" 'd' ]]>", function()
  it("control \1\2\27 and \xff\xfe bytes, é, \u{10FFFF}", function() end)
  it("two\nlines # todo later", function() end)
  it("#skip not really # SKIP", function() end)
  it("fails <&>\"' ]]> \0", function() error("message <&>\"' ]]> \1\xff[%") end)
  it("skips <&>\"'", function() pending("because <&>\"' \3\nof this # todo") end)
end)
