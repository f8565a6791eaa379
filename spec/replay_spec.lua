-- The replay example: what its table claims holds for the small recording in spec/data, and for the
-- large trace where it lies beside the checkout.

local SMALL <const> = "spec/data/sqlite.oracleGeneral.bin"
local LARGE <const> = "../shared/data/cloudPhysicsIO.oracleGeneral.bin"
local COST_AWARE <const> = "spec/examples/cost_aware.lua"
local MEMORY <const> = 0.4 -- of the footprint, the example's own default

local model <const> = dofile("spec/examples/lib/replay.lua")

local function contents(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function replay(trace, policy, max)
  return model.run{
    trace = trace, policy = policy, name = "under test",
    max = math.floor(max or trace.footprint * MEMORY),
  }
end

-- What two runs must have in common; the pause is real time and differs.
local function figures(result)
  return { result.peak, result.passes, result.victims, result.recreated, result.left }
end

local function with_file(text, fn)
  local path <const> = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  finally(function()
    os.remove(path)
  end)
  return fn(path)
end

describe("the replay example", function()
  local trace

  lazy_setup(function()
    trace = assert(model.read(SMALL))
  end)

  it("reads the recording whole", function()
    assert.are.equal(#contents(SMALL) // 24, #trace.ids)
    assert.is_true(trace.footprint > 0 and trace.footprint < trace.bytes)
    assert.are.equal(0, trace.times[1])
  end)

  it("refuses a file that is no trace", function()
    with_file(("x"):rep(25), function(path)
      local none, message = model.read(path)
      assert.is_nil(none)
      assert.matches("not a sequence of 24%-byte records", message)
    end)
    assert.is_nil((model.read("spec/data/no_such_trace.bin")))
  end)

  for _, policy in ipairs{ "oldest", "largest", COST_AWARE } do
    it("closes its accounts under " .. policy, function()
      local result = replay(trace, policy)
      assert.are.equal(0, result.left)
      assert.are.equal(0, result.policy_failures)
      assert.is_true(result.passes > 0 and result.victims >= result.passes)
      assert.is_true(result.recreated > 0 and result.recreated <= trace.bytes - trace.footprint)
    end)

    it("keeps to the same memory under " .. policy, function()
      local result = replay(trace, policy)
      assert.are.equal(math.floor(trace.footprint * MEMORY), result.max)
      assert.is_true(result.peak > result.max) -- it was crossed, or there was no pass
      assert.is_true(result.peak <= result.max * 9 // 8 + 65536) -- by caches and one block at most
    end)
  end

  it("repeats to the byte", function()
    assert.are.same(figures(replay(trace, COST_AWARE)), figures(replay(trace, COST_AWARE)))
  end)

  it("re-creates nothing when there is room for all", function()
    local result = replay(trace, "oldest", trace.footprint * 2)
    assert.are.same({ 0, 0, 0, 0 },
      { result.passes, result.victims, result.recreated, result.left })
  end)

  it("never looks at the field that tells the future", function()
    local blind = contents(SMALL):gsub(("."):rep(24), function(record)
      return record:sub(1, 16) .. ("\xFF"):rep(8)
    end)
    with_file(blind, function(path)
      local result = replay(assert(model.read(path)), COST_AWARE)
      assert.are.same(figures(replay(trace, COST_AWARE)), figures(result))
    end)
  end)

  it("takes the cost-aware policy as a file and as a table alike", function()
    assert.are.same(figures(replay(trace, COST_AWARE)), figures(replay(trace, dofile(COST_AWARE))))
  end)

  it("has a cost-aware policy of at most 20 lines", function()
    local _, lines = contents(COST_AWARE):gsub("\n", "")
    assert.is_true(lines <= 20)
  end)

  it("prints a row for each policy", function()
    local lines = {}
    local world = setmetatable({
      arg = { [0] = "spec/examples/replay.lua" },
      os = setmetatable({ getenv = function() return "1" end }, { __index = os }), -- NO_COLOR
      print = function(text)
        lines[#lines + 1] = text
      end,
    }, { __index = _G })
    assert(loadfile("spec/examples/replay.lua", "t", world))(SMALL)
    local page = table.concat(lines, "\n")
    assert.matches("policy +peak +passes +victims +re%-created +of oldest +longest pause", page)
    for _, policy in ipairs{ "oldest", "largest", "cost_aware.lua" } do
      assert.matches("\n" .. policy .. " +%d+%.%d MiB +%d+ +%d+ +%d+%.%d MiB +%d+ %% +%d+%.%d ms",
        page)
    end
    assert.matches("re%-created %d+ %% fewer bytes than \"oldest\" at equal memory", page)
  end)

  local large <const> = io.open(LARGE, "rb")
  if large then
    large:close()
    it("re-creates 20 % less than \"oldest\" on the large trace at equal memory", function()
      local blocks = assert(model.read(LARGE))
      local oldest, aware = replay(blocks, "oldest"), replay(blocks, COST_AWARE)
      assert.are.equal(oldest.max, aware.max)
      assert.are.same({ 0, 0 }, { oldest.left, aware.left })
      assert.is_true(aware.recreated <= 0.8 * oldest.recreated)
    end)
  else
    print("skipped: " .. LARGE .. " is absent")
  end
end)
