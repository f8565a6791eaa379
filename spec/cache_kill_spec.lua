-- Caches over a real file in a process that is killed: whatever it was at, no reference is in the
-- file without its count. (What a power failure leaves beyond that is in cache_crash_spec.lua.)
local backend = require "lethe.backend"
local image = require "spec.examples.lib.image"
local chance = require "spec.support.chance"
local program = require "spec.support.program"

local WORK <const> = chance.WORK
local SHAPE <const> = { block = 1024, entries = 8, tables = 4 }

-- Changes the image for ever, and says so after each change.
local CHILD <const> = [[
  package.path = "./?.lua;" .. package.path
  local image = require "spec.examples.lib.image"
  local path, seed, unordered = ...
  local shape = { block = 1024, entries = 8, tables = 4 }
  local file = assert(require("lethe.backend").file{ path = path, block = shape.block })
  local disk = image.open(file, shape, { limit = 3, unordered = unordered == "unordered" })
  math.randomseed(tonumber(seed))
  disk:play(math.maxinteger, math.random, function(self)
    if unordered == "unordered" then self.refs:flush() end
    if math.random(5) == 1 then self:flush() end
    io.write(".") io.flush()
  end)
]]

-- Lets it make so many changes, and kills it then; the pipe's buffer lets it run on for a while.
local function killed_after(changes, script, path, ...)
  local words = { "exec sh -c 'echo $$; exec \"$0\" \"$@\"'", program.quote(program.path),
    script, path }
  for _, word in ipairs{ ... } do
    words[#words + 1] = tostring(word)
  end
  local pipe <close> = assert(io.popen(table.concat(words, " ")))
  local pid = assert(pipe:read("l"))
  local got = pipe:read(changes)
  os.execute("kill -9 " .. pid)
  return got and #got or 0
end

local function check(path)
  local file <close> = assert(backend.file{ path = path, block = SHAPE.block })
  return image.check(function(k) return file:load(k) end, SHAPE)
end

local function format(path)
  local file <close> = assert(backend.file{ path = path, block = SHAPE.block })
  image.format(file, SHAPE)
end

describe("a process that is killed", function()
  local path, script

  before_each(function()
    path, script = program.file(), program.file(CHILD)
    format(path)
  end)

  after_each(program.clean)

  it("leaves no reference without its count, and the next one goes on from there", function()
    local used = 0
    for round = 1, math.max(1, math.floor(6 * WORK)) do
      assert.are.equal(round * 7, killed_after(round * 7, script, path, round))
      local ok, n = check(path)
      assert(ok, n)
      used = used + n
      if round % 2 == 0 then format(path) end -- blocks that were lost add up
    end
    assert.is_true(used > 0)
  end)

  it("leaves some where nothing depends on anything, so that this could have failed", function()
    local broken = 0
    for round = 1, 5 do
      killed_after(5 + round, script, path, round, "unordered")
      if not check(path) then broken = broken + 1 end
      format(path)
    end
    assert.is_true(broken > 0)
  end)
end)
