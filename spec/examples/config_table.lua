-- A configuration that is read all the time and changed now and then.
--
--   lethe spec/examples/config_table.lua [UPDATES [READERS]]
--
-- A shared.map holds one table per section. Workers read sections without a lock while this thread
-- puts new versions in their place. A read gives a copy of one whole version or of another, never a
-- mixture: each reader checks that all fields of what it got belong together, byte by byte, and
-- that no section ever goes back to a version before the one it has seen.
local epoch = require "lethe.epoch"
local shared = require "lethe.shared"
local worker = require "lethe.worker"

local UPDATES <const>, READERS <const>, SECTIONS <const> = 2000, 4, 8

-- Fields that all follow from the version, some long, so that a torn one would show.
local function section(version)
  local letter = string.char(97 + version % 26)
  return {
    version = version,
    limits = { soft = version * 2, hard = version * 3 },
    text = letter:rep(64 + version % 64),
    hosts = { letter .. "1", letter .. "2", letter .. "3" },
  }
end

-- What a reader does until it has seen the last version; its counts.
local function read(name, sections, last)
  local map <close> = assert(require("lethe.shared").open(name))
  local parent = require("lethe.worker").parent()
  local seen, reads, torn, back = {}, 0, 0, 0
  local finished
  local function check(k)
    local got = assert(map:get(k))
    local v, reader_last = got.version, seen[k] or 0
    local letter = string.char(97 + v % 26)
    local whole = got.limits.soft == v * 2 and got.limits.hard == v * 3
      and got.text == letter:rep(64 + v % 64) and table.concat(got.hosts, " ") ==
      ("%s1 %s2 %s3"):format(letter, letter, letter)
    if not whole then torn = torn + 1 end
    if v < reader_last then back = back + 1 end
    seen[k], reads = v, reads + 1
    return v == last
  end
  repeat
    finished = true
    for k = 1, sections do finished = check(k) and finished end
    if reads == sections then parent:send("reading") end
  until finished
  return { reads = reads, torn = torn, back = back }
end

local function main(updates, readers)
  updates, readers = math.tointeger(updates) or UPDATES, math.tointeger(readers) or READERS
  local manager <close> = epoch.new{}
  local map <close> = assert(shared.map{ epoch = manager, name = "configuration" })
  for k = 1, SECTIONS do map:set(k, section(1)) end
  local team, reads, torn, back = {}, 0, 0, 0
  for i = 1, readers do
    team[i] = worker.spawn(read, "configuration", SECTIONS, updates)
  end
  for i = 1, readers do assert(team[i]:recv() == "reading") end
  for version = 2, updates do
    for k = 1, SECTIONS do assert(map:set(k, section(version))) end
  end
  for _, each in ipairs(team) do
    local result = assert(each:join())
    reads, torn, back = reads + result.reads, torn + result.torn, back + result.back
  end
  print(("%d readers read %d sections while %d were replaced"):format(readers, reads,
    (updates - 1) * SECTIONS))
  print(("torn: %d, older than one seen before: %d"):format(torn, back))
  assert(torn == 0 and back == 0)
  assert(manager:barrier(10))
  print(("every old version is freed: %d objects in limbo"):format(manager:stats().limbo))
  return { reads = reads, torn = torn, back = back, limbo = manager:stats().limbo }
end

return main(...)
