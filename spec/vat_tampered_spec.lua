-- Transcripts that somebody changed: what no kernel can have written is found at the record where
-- it stands, before any vat runs on it; and what a file says is all read.
local lethe = require "lethe"
local program = require "spec.support.program"

local vat = lethe.vat

local BUILDS <const> = {
  a = [[
    local held
    return {
      keep = function(_, x) held = x return far{ n = function() return 1 end } end,
      drop = function() held = nil end,
    }]],
  b = "return { call = function(_, x) return E(x):n() end }",
}

-- a is told of b's root, b calls what a made, both bring out their dead, b is ended.
local function play(path)
  local k = vat.kernel{ transcript = path }
  local a, b = k:vat("a", BUILDS.a, { meter = 1000000 }), k:vat("b", BUILDS.b)
  local made = k:await(k:send(a, "keep", b))
  k:await(k:send(b, "call", made))
  made:close()
  k:await(k:send(a, "drop"))
  k:collect()
  k:terminate("b")
  return k
end

describe("a transcript that was changed", function()
  local records, reports, on_error

  before_each(function()
    reports = {}
    on_error = lethe.on_error(function(message) reports[#reports + 1] = message end)
    local k <close> = play()
    records = k:transcript()
    assert.is_true(vat.replay(records, BUILDS))
  end)

  after_each(function()
    lethe.on_error(on_error)
    assert.are.same({}, reports)
  end)

  local function find(kind, name)
    for i = 2, #records do
      if records[i].delivery[1] == kind and records[i].vat == name then return i end
    end
  end

  local function replayed()
    local ok, message, code, index, expected, got = vat.replay(records, BUILDS)
    assert.are.same({ nil, "diverged" }, { ok, code })
    assert.are.equal(records[index], expected)
    return index, got, message
  end

  it("brings a message to what the vat never sent", function()
    local i = find("deliver", "a")
    records[i].delivery[2] = "o+44"
    local index, got, message = replayed()
    assert.are.equal(i, index)
    assert.are.same({}, got.syscalls)
    assert.are.equal(
      ("record %d, deliver to a: the vat cannot have been told of o+44"):format(i), message)
  end)

  it("brings what the vat never sent along with a message", function()
    local i = find("deliver", "b")
    records[i].delivery[4].slots[1] = "o+44"
    assert.are.equal(i, (replayed()))
  end)

  it("numbers an import out of turn", function()
    local i = find("deliver", "a")
    records[i].delivery[4].slots[1] = "o-2"
    assert.are.equal(i, (replayed()))
  end)

  it("gives a number again", function()
    local i = find("deliver", "a")
    table.insert(records, i + 1, records[i])
    assert.are.equal(i + 1, (replayed()))
  end)

  it("lacks a message, as the next one shows", function()
    local i = find("deliver", "a")
    table.remove(records, i)
    local index = replayed()
    assert.are.equal("deliver", records[index].delivery[1])
    assert.are.equal(find("deliver", "a"), index)
  end)

  it("tells the vat of the outcome of a promise that it does not know", function()
    local i = find("notify", "b")
    table.insert(records, i + 1, records[i])
    assert.are.equal(i + 1, (replayed()))
  end)

  it("drops or retires what the vat does not have", function()
    for _, kind in ipairs{ "dropExports", "retireExports", "retireImports" } do
      table.insert(records, 3, {
        vat = "a", delivery = { kind, { kind == "retireImports" and "o-9" or "o+99" } },
        syscalls = {},
      })
      assert.are.equal(3, (replayed()))
      table.remove(records, 3)
    end
  end)

  it("says that a vat was ended in a way that there is none of, or none at all", function()
    local i = find("terminate", "b")
    for _, ended in ipairs{ "uerminated", false } do
      records[i].ended = ended or nil
      local index, got = replayed()
      assert.are.same({ i, "terminated" }, { index, got.ended })
    end
  end)

  it("has an ended vat ask for something", function()
    local i = find("terminate", "b")
    records[i].syscalls[1] = { "dropImports", { "o-1" } }
    assert.are.equal(i, (replayed()))
    records[i].delivery, records[i].ended = { "bringOutYourDead" }, "memory"
    assert.are.equal(i, (replayed()))
  end)

  it("ends a vat twice", function()
    local i = find("terminate", "b")
    table.insert(records, i, records[i])
    assert.are.equal(i + 1, (replayed()))
  end)

  it("names a vat twice", function()
    table.insert(records[1].vats, { name = "a" })
    local ok, message, code = vat.replay(records, BUILDS)
    assert.are.same({ nil, "bad_format" }, { ok, code })
    assert.matches('names "a" twice', message)
  end)
end)

describe("a file of one", function()
  after_each(program.clean)

  it("is refused where it has what nobody reads", function()
    local path = program.file()
    play(path):close()
    local lines = {}
    for line in io.lines(path) do lines[#lines + 1] = line end
    assert.is_true(vat.replay(path, BUILDS))
    local tried = 0
    for i, line in ipairs(lines) do
      for _, key in ipairs{ "vats", "meter", "name", "vat", "delivery", "syscalls", "ended", "data",
        "slots" } do
        local changed, n = line:gsub(('"%s":'):format(key), ('"%sx":'):format(key), 1)
        if n > 0 then
          tried = tried + 1
          lines[i] = changed
          local file <close> = assert(io.open(path, "wb"))
          file:write(table.concat(lines, "\n"), "\n")
          file:close()
          local ok, message, code = vat.replay(path, BUILDS)
          assert.are.same({ nil, "bad_format" }, { ok, code })
          assert.matches("%S", message)
        end
      end
      lines[i] = line
    end
    assert.is_true(tried > 40)
  end)
end)
