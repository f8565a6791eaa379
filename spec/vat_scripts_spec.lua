-- Scripts of one vat: their logs against those of the model's own runs, where they lie beside the
-- checkout, and small ones of our own.

local json = require "lethe.json"
local lethe = require "lethe"
local program = require "spec.support.program"
local script = require "lethe.vat.script"
local timeline = require "lethe.vat.timeline"

local DATA <const> = "../shared/data/vat"

local function read(path)
  local file <close> = assert(io.open(path))
  return assert(json.decode_lines(file:read("a")))
end

local function names(pattern)
  local list = {}
  local pipe <close> = assert(io.popen("ls " .. DATA .. "/scripts 2>/dev/null"))
  for name in pipe:lines() do
    if name:find(pattern) then list[#list + 1] = name end
  end
  return list
end

-- Raises where two logs differ in these fields.
local function same(expected, got, fields, what)
  assert.are.equal(#expected, #got, what)
  for i, record in ipairs(expected) do
    for _, field in ipairs(fields) do
      local want, have = json.encode(record[field]), json.encode(got[i][field])
      if want ~= have then
        error(("%s, operation %d: %s: expected %s, got %s"):format(what, i - 1, field, want, have))
      end
    end
  end
end

-- What a vat does and sees, without what its collector does.
local function transcript(log)
  local list = {}
  for _, record in ipairs(log) do
    if not record.engine then
      list[#list + 1] = json.encode{ record.op, record.sys, record.answer }
    end
  end
  return table.concat(list, "\n")
end

local function run(path, options)
  return assert(lethe.vat.run_script(path, options))
end

describe("vat scripts", function()
  after_each(program.clean)

  if #names(".") == 0 then
    print("skipped: the logs of the model: ../shared/data/vat is not beside the checkout")
  end

  for _, name in ipairs(names(".")) do
    it("give the model's log: " .. name, function()
      local fields = name:find("^S") and { "sys", "answer", "state" } or { "sys", "answer" }
      same(read(DATA .. "/expected/" .. name), run(DATA .. "/scripts/" .. name), fields, name)
    end)
  end

  for _, name in ipairs(names("%-base%.jsonl$")) do
    local family <const> = name:match("^(.-)%-base")
    it("give one transcript whatever the collector did: " .. family, function()
      local base = transcript(run(DATA .. "/scripts/" .. name))
      for i = 1, 5 do
        local path = ("%s/scripts/%s-v%d.jsonl"):format(DATA, family, i)
        assert.are.equal(base, transcript(run(path)), path)
      end
    end)
  end

  for _, name in ipairs(names("^[SB]")) do
    if read(DATA .. "/scripts/" .. name)[1].gc == "forced" then
      it("say the same under Lua's collector, let loose: " .. name, function()
        local path = DATA .. "/scripts/" .. name
        local base = transcript(run(path, { engine = "manual" }))
        for seed = 1, 2 do
          assert.are.equal(base, transcript(run(path, { engine = "lua", schedule = seed })))
        end
      end)
    end
  end

  it("tell a drop once, and a name that is delivered again apart", function()
    local log = run "spec/data/vat/drop.jsonl"
    assert.are.equal("[]", json.encode(log[3].sys)) -- collected, and its callback waits
    assert.are.equal('[["dropImports",["o-2"]],["retireImports",["o-2"]]]', json.encode(log[5].sys))
    assert.are.equal("[]", json.encode(log[6].sys))
    assert.is_false(log[8].answer)
    assert.are.equal("REACHABLE/R", log[4].state.states["o-1"])
  end)

  it("keep a value under a dropped key, and free it with its map", function()
    for _, options in ipairs{ { engine = "lua" }, { engine = "manual" },
      { engine = "lua", schedule = 3 } } do
      local log = run("spec/data/vat/weak.jsonl", options)
      assert.are.equal('[["dropImports",["o-8"]]]', json.encode(log[5].sys))
      assert.is_true(log[7].answer)
      assert.are.equal('[["dropImports",["o-8","o-9"]],["retireImports",["o-8","o-9"]]]',
        json.encode(log[9].sys))
      assert.are.equal("[]", json.encode(log[10].sys))
    end
  end)

  it("are refused where they are none", function()
    local function code(text)
      local log, message, word = lethe.vat.run_script(program.file(text))
      assert.is_nil(log)
      return word, message
    end
    assert.are.equal("not_found", select(3, lethe.vat.run_script("no/such.jsonl")))
    assert.are.equal("bad_format", (code "not json"))
    assert.matches("no header", select(2, code '{"op":"gc"}\n'))
    assert.matches('operation 0: unknown operation "fly"',
      select(2, code '{"script":"x","gc":"forced"}\n{"op":"fly"}\n'))
    assert.error_matches(function() lethe.vat.run_script("x", { engin = "lua" }) end,
      'did you mean "engine"')
  end)

  it("are run by lethe vat, a line for each operation", function()
    local out, err, code = program.run("lethe vat spec/data/vat/drop.jsonl")
    assert.are.same({ "", 0 }, { err, code })
    same(json.decode_lines(out), run "spec/data/vat/drop.jsonl", { "i", "op", "sys", "state" }, "")
    assert.are.equal(2, select(3, program.run("lethe vat")))
    assert.are.equal(2, select(3, program.run("lethe vat --engine jvm x.jsonl")))
    assert.are.equal(1, select(3, program.run("lethe vat no/such.jsonl")))
  end)
end)

describe("a timeline", function()
  after_each(program.clean)

  -- What the lanes of a page say of one operation.
  local function states_at(dom, i)
    local states = {}
    for vref, state, from, to in dom:gmatch(
      'data%-vref="([^"]+)" data%-state="([^"]+)" data%-from="(%d+)" data%-to="(%d+)"') do
      if i >= tonumber(from) and i <= tonumber(to) then states[vref] = state end
    end
    return states
  end

  it("shows in a browser the states that the log has", function()
    local page = program.file() .. ".html"
    local _, err, code = program.run("lethe vat --html " .. page .. " spec/data/vat/weak.jsonl")
    assert.are.same({ "", 0 }, { err, code })
    local dom = program.run(("timeout 60 chromium --headless --no-sandbox --disable-gpu "
      .. "--dump-dom file://%s 2>/dev/null"):format(page))
    os.remove(page)
    local log = run "spec/data/vat/weak.jsonl"
    for i, record in ipairs(log) do
      local want = {}
      for vref, text in pairs(record.state.states) do
        want[vref] = text:match("^[^/]+")
      end
      assert.are.same(want, states_at(dom, i - 1))
    end
    assert.are.equal(3, select(2, dom:gsub('<line data%-mark="bringOutYourDead"', "")))
    assert.is_nil(dom:find("src=", 1, true))
  end)

  it("escapes what it is given", function()
    local page = timeline.html("<script>", script.play({ script = "x", gc = "forced" }, {}))
    assert.is_nil(page:find("<script>", 1, true))
  end)
end)
