-- The table of `make bench`:
--
--   build/lethe spec/tools/figures.lua FIGURES OUT
--
-- prints it and writes OUT.txt and OUT.json.
package.path = "./?.lua;" .. package.path
local table_of = require "spec.bench.harness.table"

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local file <close> = assert(io.open(arg[1], "rb"))
local figures = table_of.read(file:read("a"))
write(arg[2] .. ".txt", table_of.text(figures))
write(arg[2] .. ".json", table_of.json(figures))
io.write(table_of.text(figures))
