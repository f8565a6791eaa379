-- Settings of luacheck for the Lua sources and the specs.
std = "lua54"
max_line_length = 100
exclude_files = { "build", "lua_modules", "spec/data" }

files["spec"] = { std = "+busted" }
