-- What becomes of results: a page that a browser shows without a network, and CSV.

local program = require "spec.support.program"
local sim = require "lethe.sim"

local file = program.file

-- Two policies that end and one that does not, at three sizes.
local function results_of(trace)
  return sim.run{ trace = trace, sizes = { 0.02, 0.1, 0.5 }, unit = true, jobs = 1, policies = {
    "lru", { name = "<b>&\"mine\"</b>", score = "freq" },
    file "return { budget = 1000, score = function() while true do end end }" } }
end

-- The page as a browser has it once it has read it.
local function in_browser(path)
  local command <const> = "timeout 60 chromium --headless --no-sandbox --disable-gpu "
    .. "--proxy-server=127.0.0.1:9 --virtual-time-budget=2000 --dump-dom file://%s 2>/dev/null"
  local pipe <close> = assert(io.popen(command:format(path)))
  return pipe:read("a")
end

local UNESCAPES <const> = { ["&lt;"] = "<", ["&gt;"] = ">", ["&quot;"] = '"', ["&amp;"] = "&" }

-- The curves of one <svg>: policy -> "capacity=ratio ...", and how many places each has.
local function curves(dom, id)
  local svg <const> = assert(dom:match('<svg id="curves%-' .. id .. '".-</svg>'), id)
  local found, places = {}, {}
  for group in svg:gmatch('<g class="series".-</g>') do
    local name <const> = group:match('data%-policy="(.-)" data'):gsub("&%a+;", UNESCAPES)
    local pairs_of, ratios = {}, group:match('data%-ratios="(.-)"'):gmatch("%S+")
    for capacity in group:match('data%-capacities="(.-)"'):gmatch("%S+") do
      pairs_of[#pairs_of + 1] = capacity .. "=" .. ratios()
    end
    found[name] = table.concat(pairs_of, " ")
    places[name] = select(2, group:match('points="(.-)"'):gsub("%d,%d", ""))
  end
  return found, places
end

describe("sim.report", function()
  local trace, results, path

  before_each(function()
    trace = assert(sim.synthetic{ kind = "zipf", objects = 400, requests = 4000,
      size = { 10, 1000 } })
    results = results_of(trace)
    path = file()
    os.remove(path)
    path = path .. ".html"
    assert.is_true(sim.report(results, path, { title = "A <title>" }))
  end)

  after_each(function()
    trace:close()
    os.remove(path)
    program.clean()
  end)

  it("draws curves that a browser reads back, of objects and of bytes", function()
    local dom <const> = in_browser(path)
    for _, of in ipairs{ { "objects", "miss_ratio" }, { "bytes", "byte_miss_ratio" } } do
      local found, places = curves(dom, of[1])
      local wanted = {}
      for _, row in ipairs(results) do
        if not row.failed then
          wanted[row.policy] = (wanted[row.policy] and wanted[row.policy] .. " " or "")
            .. ("%d=%.6f"):format(row.capacity, row[of[2]])
        end
      end
      assert.are.same(wanted, found)
      assert.are.same({ lru = 3, ["<b>&\"mine\"</b>"] = 3 }, places)
    end
    assert.matches("A &lt;title&gt;</h1>", dom, 1, true)
    assert.is_nil(dom:find("<b>&amp;", 1, true))
    assert.matches('<td class="failed">failed</td>', dom, 1, true)
    assert.matches("policy passed its budget of 1000 instructions", dom, 1, true)
    assert.matches(("4,000 requests · %d objects"):format(trace:objects()), dom, 1, true)
  end)

  it("has both ratios as tables, the best in bold, and all runs", function()
    local page <const> = program.read(path)
    local best = math.huge
    for _, row in ipairs(results) do
      if row.size == 0.1 and row.miss_ratio then best = math.min(best, row.miss_ratio) end
    end
    assert.matches(('<td class="best">%.4f</td>'):format(best), page, 1, true)
    for _, id in ipairs{ "table-objects", "table-bytes", "failures", "results" } do
      assert.matches('<table id="' .. id .. '">', page, 1, true)
    end
    local _, rows = page:match('<table id="results">.-</table>'):gsub("<tr>", "")
    assert.are.equal(#results + 1, rows)
  end)

  it("asks nobody for anything", function()
    local page <const> = program.read(path)
    assert.is_nil(page:find("src=", 1, true))
    assert.is_nil(page:find("@import", 1, true))
    assert.is_nil(page:find("url(", 1, true))
    assert.is_nil(page:find("<script", 1, true))
    for link in page:gmatch('https?://[^"]+') do
      assert.are.equal("http://www.w3.org/2000/svg", link)
    end
    for link in page:gmatch('href="([^"]*)"') do
      assert.are.equal("data:,", link)
    end
  end)

  it("makes do with one size, with none that ended, and with rows made by hand", function()
    assert.is_true(sim.report(sim.run{ trace = trace, policies = { "lru" }, sizes = { 10 },
      unit = true }, path))
    assert.are.equal(2, select(2, program.read(path):gsub('data%-policy="lru"', "")))
    assert.is_true(sim.report({}, path))
    assert.matches("No policy came to its end", program.read(path), 1, true)
    assert.is_true(sim.report({ { policy = "a", size = 7, capacity = 7, requests = 10, misses = 5,
      miss_ratio = 0.5, byte_miss_ratio = 0.25, seconds = 1, mreq_s = 1 } }, path))
    assert.matches('data-ratios="0.250000"', program.read(path), 1, true)
  end)

  it("says when it cannot be written", function()
    for _, write in ipairs{ sim.report, sim.csv } do
      local ok, message, code = write(results, "/no/such/place")
      assert.are.same({ nil, "unwritable" }, { ok, code })
      assert.matches("/no/such/place", message, 1, true)
    end
    assert.has_error(function() sim.report(nil, path) end)
    assert.has_error(function() sim.report({ { policy = "a", size = 7 } }, path) end,
      "bad argument #1 to 'report' (item 1 is no result)")
    assert.has_error(function() sim.csv({ results[1], 3 }, path) end,
      "bad argument #1 to 'csv' (item 2 is no result)")
    assert.has_error(function() sim.csv(results, 7) end)
    assert.has_error(function() sim.report(results, path, { titel = "x" }) end)
  end)
end)

-- Reads CSV as RFC 4180 has it: a list of records.
local function read_csv(text)
  local records, at = {}, 1
  while at <= #text do
    local fields = {}
    repeat
      local quoted, after = text:match('^"(.-[^"])"()[,\r]', at)
      if text:sub(at, at + 1) == '""' and text:find("^[,\r]", at + 2) then
        quoted, after = "", at + 2
      end
      local field = quoted and quoted:gsub('""', '"') or text:match("^[^,\r]*", at)
      fields[#fields + 1] = field
      at = after or at + #field
      local separator <const> = text:sub(at, at)
      at = at + 1
    until separator ~= ","
    assert.are.equal("\n", text:sub(at, at))
    at = at + 1
    records[#records + 1] = fields
  end
  return records
end

describe("sim.csv", function()
  after_each(program.clean)

  it("writes a record for each result, that can be read back", function()
    local trace <close> = assert(sim.synthetic{ kind = "zipf", objects = 100, requests = 1000 })
    local results = sim.run{ trace = trace, sizes = { 0.1, 50 }, policies = { "lru",
      { name = 'a "name", with both', score = "freq" },
      file "return { score = function() error('one, \"two\"\\nthree', 0) end }" } }
    local path <const> = file()
    assert.is_true(sim.csv(results, path))
    local records <const> = read_csv(program.read(path))
    assert.are.same({ "policy", "size", "capacity", "requests", "misses", "miss_ratio",
      "byte_miss_ratio", "seconds", "mreq_s", "failed" }, records[1])
    assert.are.equal(#results + 1, #records)
    for i, row in ipairs(results) do
      local fields = records[i + 1]
      assert.are.same({ row.policy, tostring(row.size), tostring(row.capacity) },
        { fields[1], fields[2], fields[3] })
      assert.are.equal(row.misses, math.tointeger(tonumber(fields[5])))
      assert.are.equal(row.failed or "", fields[10])
      if row.miss_ratio then assert.is_near(row.miss_ratio, tonumber(fields[6]), 1e-9) end
    end
  end)
end)
