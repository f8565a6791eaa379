-- Word count over a large real file: workers add into one shared map.
--
--   lethe spec/examples/word_count.lua [MEGABYTES [WORKERS]]
--
-- The text is all that is in /usr/share/common-licenses, which every Debian has, again and again
-- until the file is as large as asked, 100 MB unless told. Workers draw blocks of it from a counter
-- in one shared map, count the words of a block, and add them to another. The result is checked
-- word by word against a plain count by this thread. The time of N workers is shown over that of 1.
local epoch = require "lethe.epoch"
local loop = require("lethe.loop").default()
local shared = require "lethe.shared"
local worker = require "lethe.worker"

local MEGABYTES <const>, WORKERS <const>, BLOCK <const> = 100, 2, 64 << 10
local TEXT <const> = "cat /usr/share/common-licenses/*"

-- The file at this path, of this many bytes.
local function fill(path, bytes)
  local pipe <close> = assert(io.popen(TEXT))
  local text = pipe:read("a")
  assert(#text > 0, TEXT .. ": nothing there")
  local file <close> = assert(io.open(path, "wb"))
  local written = 0
  while written < bytes do
    assert(file:write(text:sub(1, bytes - written)))
    written = math.min(bytes, written + #text)
  end
end

local function count_plainly(path)
  local counts, total = {}, 0
  for line in io.lines(path) do
    for word in line:gmatch("%a+") do
      counts[word] = (counts[word] or 0) + 1
      total = total + 1
    end
  end
  return counts, total
end

-- A word belongs to the block that it begins in.
local function count_blocks(path, block, words, state)
  local function read(file, from)
    file:seek("set", math.max(from - 1, 0))
    local text = file:read(from > 0 and block + 1 or block)
    if not text then return nil end
    local first = from > 0 and text:match("^%a+()") or 1
    while first <= #text and text:find("^%a", -1) do
      local more = file:read(1)
      if not more then break end
      text = text .. more
    end
    return text, first
  end
  local file <close> = assert(io.open(path, "rb"))
  local blocks = 0
  while true do
    local text, first = read(file, (state:incr("next", 1, 0) - 1) * block)
    if not text then return blocks end
    local counts = {}
    for word in text:gmatch("%a+", first) do counts[word] = (counts[word] or 0) + 1 end
    for word, n in pairs(counts) do assert(words:incr(word, n, 0)) end
    blocks = blocks + 1
  end
end

-- Seconds that this many workers take, and the map with what they counted.
local function count_together(manager, path, workers)
  local words, state = shared.map{ epoch = manager }, shared.map{ epoch = manager }
  local team, began = {}, loop:now()
  for i = 1, workers do team[i] = worker.spawn(count_blocks, path, BLOCK, words, state) end
  for _, each in ipairs(team) do assert(each:join()) end
  return loop:now() - began, words
end

local function main(megabytes, workers)
  megabytes, workers = tonumber(megabytes) or MEGABYTES, math.tointeger(workers) or WORKERS
  local path = os.tmpname()
  local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
  fill(path, math.floor(megabytes * 1e6))
  local expected, total = count_plainly(path)
  local manager <close> = epoch.new{}

  local function timed(n)
    local seconds, words = count_together(manager, path, n)
    for word, count in pairs(words) do assert(count == expected[word], word) end
    for word in pairs(expected) do assert(words:get(word), word) end
    return seconds, words
  end
  local one, words = timed(1)
  local many, again = timed(workers)
  assert(#words == #again)
  print(("%d words, %d different, in %g MB"):format(total, #words, megabytes))
  print(("1 and %d workers counted the same as a plain count"):format(workers))
  print(("time of %d workers over 1: %.2f"):format(workers, many / one))
  return { words = total, different = #words, the = words:get("the"), ratio = many / one }
end

return main(...)
