-- Transcripts: whatever is in the file, it is read and replayed, or refused in words; a transcript
-- that diverges at a record has that record. What replays does so again.
local vat = require "lethe.vat"

local PATH <const> = os.tmpname()
local CODES <const> = { diverged = true, bad_format = true }

local builds <const> = {
  bank = "return { open = function(_, n) return far{ get = function() return n end,"
    .. " add = function(_, m) n = n + m return n end, pay = function(_, m, to) n = n - m"
    .. " return E(to):add(m) end } end }",
  shop = { raw = function(syscall)
    local held = {}
    return {
      deliver = function(_, _, args, result)
        held = args.slots
        if result then syscall.resolve{ { result, false, { data = "kept", slots = {} } } } end
      end,
      bring_out_your_dead = function()
        if held[1] then
          syscall.dropImports(held)
          syscall.retireImports(held)
        end
        held = {}
      end,
    }
  end },
}

-- What `lethe.vat.replay` says about a vat that has no build, or cannot be built within its bounds,
-- is misuse, and raised; it names the vat.
local function replay(transcript)
  local results = table.pack(pcall(vat.replay, transcript, builds))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message <const> = results[2]
  assert(type(message) == "string" and (message:find("no build for the vat ", 1, true)
    or message:find("vat bank: ", 1, true) or message:find("vat shop: ", 1, true)), message)
  return nil, "no build", "no_build"
end

local function put(bytes)
  local file <close> = assert(io.open(PATH, "wb"))
  file:write(bytes)
end

return function(bytes)
  put(bytes)
  local ok, message, code, index, expected = replay(PATH)
  if ok then
    assert(ok == true and replay(PATH))
  else
    assert(type(message) == "string" and (CODES[code] or code == "no_build"), code)
    if code == "diverged" then assert(math.type(index) == "integer" and expected, message) end
  end
  os.remove(PATH)
end
