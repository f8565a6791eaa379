-- Each example's main function, with small sizes and without what it prints.

-- Runs an example with these arguments; what its main function returned, and what it printed.
local function run(name, ...)
  local printed = {}
  local env = setmetatable({
    print = function(text)
      printed[#printed + 1] = text
    end,
  }, { __index = _G })
  local chunk = assert(loadfile("spec/examples/" .. name .. ".lua", "t", env))
  return chunk(...), table.concat(printed, "\n")
end

local function has(text, words)
  assert.is_truthy(text:find(words, 1, true), ("%q is not in %q"):format(words, text))
end

describe("the example of", function()
  it("all engines together keeps every promise, and draws its page", function()
    local program = require "spec.support.program"
    local page = program.file()
    local out, err, code = program.run(("lethe spec/examples/together.lua %s 700"):format(page))
    assert.are.same({ "", 0 }, { err, code }, out)
    assert.is_nil(out:find("FAILED"))
    has(out, "ok      passes kept the budget")
    has(out, "cranks replay identically")
    has(program.read(page), "<polyline points=")
    program.clean()
  end)

  it("block caches over a file has no broken state, unless something is missing", function()
    local results, out = run("cache_blocks", 30)
    assert.is_true(results.file.ok)
    assert.is_true(results.file.barriers > 5 and results.file.used > 0)
    assert.are.equal(0, results["as it should be"].broken)
    assert.is_true(results["as it should be"].states > 100)
    assert.is_true(results["without barriers"].broken > 0)
    assert.is_true(results["without order"].broken > 0)
    has(out, " 0 broken")
  end)

  it("periodic reclamation frees what its seed frees, operation by operation", function()
    local result, out = run("periodic")
    assert.are.same({ 1, 10, 10, 10, 10 }, result.counts)
    assert.are.equal(41, result.total)
    for i, value in ipairs(result.destroyed) do assert.are.equal(i - 2, value) end
    assert.are.equal([[
Operation 9: reclaimed 1 objects
Operation 19: reclaimed 10 objects
Operation 29: reclaimed 10 objects
Operation 39: reclaimed 10 objects
Operation 49: reclaimed 10 objects
Total reclaimed: 41 objects
Periodic reclamation example completed successfully]], out)
  end)

  it("a background thread advances while workers free all that they retired", function()
    local result, out = run("background", 3, 70)
    assert.are.equal(210, result.total)
    assert.are.equal(3, #result.workers)
    for _, each in ipairs(result.workers) do
      assert.are.same({ reclaimed = 70, destroyed = 70 }, each)
    end
    assert.is_true(result.advances >= 1 and result.epoch > result.advances)
    has(out, "Total reclaimed across workers: 210")
  end)

  it("a configuration table is never torn, and never goes back", function()
    local result = run("config_table", 200, 4)
    assert.are.same({ 0, 0, 0 }, { result.torn, result.back, result.limbo })
    assert.is_true(result.reads >= 4 * 2 * 8) -- each saw each section at first and at last
  end)

  it("a stalled worker is ejected, told so, and keeps little from being freed", function()
    local result, out = run("stalled_worker", 20000, 0.5)
    assert.are.equal(2562, result.bound)
    assert.is_true(result.peak > 256 and result.peak <= result.bound)
    assert.is_true(result.ejections >= 1)
    assert.is_true(result.ejected)
    assert.are.same({ 0, "neutralized", "neutralized" },
      { result.before, result.read, result.code })
    assert.are.equal(20000, result.after)
    assert.are.equal(0, result.limbo)
    has(out, "(bound 2562)")
  end)

  it("a word count comes out the same with any number of workers", function()
    local one = run("word_count", 0.2, 1)
    local three, out = run("word_count", 1, 3)
    assert.is_true(one.words > 10000 and one.words < three.words)
    assert.is_true(one.the > 0 and one.the < three.the)
    assert.is_true(three.different >= one.different)
    has(out, "1 and 3 workers counted the same as a plain count")
  end)
end)
