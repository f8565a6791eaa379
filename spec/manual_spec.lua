-- The man page and the shells' completions tell of what the executable tells of.

local cli = require "lethe.cli"
local program = require "spec.support.program"

local function made(kind)
  local out, err, code = program.run("lethe bindings/manual.lua " .. kind)
  assert.are.equal("", err)
  assert.are.equal(0, code)
  return out
end

-- The long options that the help texts name, with the command they belong to.
local function long_options()
  local list = {}
  for _, word in ipairs(cli.WORDS) do
    for option in cli.command(word).help():gmatch("\n%s+[^\n]-(%-%-%a[%w-]*)") do
      list[#list + 1] = { word = word, option = option }
    end
  end
  assert.is_true(#list > 5)
  return list
end

-- What bash offers after these words.
local function offered(words, current)
  local file = program.file(made "bash" .. ([[
COMP_WORDS=(lethe %s '%s'); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_lethe
printf '%%s\n' "${COMPREPLY[@]}"
]]):format(words, current))
  local out, err, code = program.run("bash " .. file)
  assert.are.equal("", err)
  assert.are.equal(0, code)
  local list = {}
  for word in out:gmatch("[^\n]+") do
    list[word] = true
  end
  return list
end

describe("the manual", function()
  after_each(program.clean)

  it("is a man page without errors", function()
    local file = program.file(made "man")
    local out, _, code = program.run("mandoc -T lint -W error " .. file)
    assert.are.equal("", out)
    assert.are.equal(0, code)
  end)

  it("has every command and every option", function()
    local text = program.run("mandoc -T ascii " .. program.file(made "man")):gsub(".\b", "")
    for _, word in ipairs(cli.WORDS) do
      assert.is_truthy(text:find("lethe " .. word, 1, true), word)
    end
    for _, one in ipairs(long_options()) do
      assert.is_truthy(text:find(one.option, 1, true), one.word .. " " .. one.option)
    end
  end)

  it("completes commands, options and files in bash", function()
    local first = offered("", "")
    for _, word in ipairs(cli.WORDS) do
      assert.is_true(first[word], word)
    end
    for _, one in ipairs(long_options()) do
      assert.is_true(offered(one.word, one.option)[one.option], one.word .. " " .. one.option)
    end
    assert.is_true(offered("spec", "spec/manual_s")["spec/manual_spec.lua"])
    assert.is_nil(next(offered("spec", "--no-such")))
  end)

  it("is a completion that zsh can read", function()
    local text = made "zsh"
    local _, err, code = program.run("zsh -n " .. program.file(text))
    assert.are.equal("", err)
    assert.are.equal(0, code)
    for _, one in ipairs(long_options()) do
      assert.is_truthy(text:find("'" .. one.option .. "[", 1, true), one.option)
    end
  end)
end)
