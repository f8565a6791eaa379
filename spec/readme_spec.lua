-- Every Lua snippet of the README runs, and prints what its comments say it prints.

local snippets = require "spec.support.snippets"

describe("README.md", function()
  local list = snippets.read("README.md")

  it("has snippets of every module that it names", function()
    assert.is_true(#list >= 7)
  end)

  it("shows both commands", function()
    local file <close> = assert(io.open("README.md"))
    local text = file:read("a")
    assert.is_truthy(text:find("make demo", 1, true))
    assert.is_truthy(text:find("make test", 1, true))
  end)

  for _, snippet in ipairs(list) do
    it("runs the snippet at line " .. snippet.line, function()
      for _, line in ipairs(snippets.run(snippet, snippets.environment())) do
        assert.are.equal(line.want, line.got)
      end
    end)
  end
end)
