-- No line of code is longer than 100 columns, comments included: clang-format leaves those alone.
package.path = "./?.lua;" .. package.path
local sources = require "spec.tools.sources"

local MOST <const> = 100

local complaints, files = {}, 0

local function check(path)
  files = files + 1
  local n = 0
  for line in io.lines(path) do
    n = n + 1
    local columns <const> = utf8.len(line) or #line
    if columns > MOST then
      complaints[#complaints + 1] = ("%s:%d: %d columns"):format(path, n, columns)
    end
  end
end

-- What is in spec/data is as others write it.
for _, path in ipairs(sources.lines("find Makefile .ci bindings lua runtime spec -type f "
  .. "-not -path 'spec/data/*' -not -path 'spec/fuzz/seeds/*' | sort")) do
  if path:find("%.[ch]$") or path:find("%.lua$") or path:find("%.sh$") or path == "Makefile" then
    check(path)
  end
end
sources.report(complaints, ("columns: %d files"):format(files))
