-- Every tutorial runs from its first block to its last, in one environment, and prints what it
-- says.

local snippets = require "spec.support.snippets"

local PAGES <const> = { "policy", "scenario", "vat" }

for _, page in ipairs(PAGES) do
  local path <const> = ("spec/tutorials/%s.md"):format(page)

  describe(path, function()
    it("runs as it stands", function()
      local env, printed = snippets.environment()
      local list, lines = snippets.read(path), 0
      for _, snippet in ipairs(list) do
        for _, line in ipairs(snippets.run(snippet, env, printed)) do
          assert.are.equal(line.want, line.got, ("%s:%d"):format(path, snippet.line))
          lines = lines + 1
        end
      end
      assert.is_true(#list >= 4 and lines >= 4)
    end)
  end)
end
