-- Reads YAML on standard input, writes JSON: for tests, and for looking in a guest.
local yaml = require "yaml"
local ok, value = pcall(yaml.parse, io.read("a"))
if not ok then
  io.stderr:write(type(value) == "table" and value.yaml or tostring(value), "\n")
  os.exit(1)
end
print(yaml.to_json(value))
