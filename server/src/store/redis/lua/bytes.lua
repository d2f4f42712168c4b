-- Shared by scripts that compare ids: Lua compares by the server's locale, zsets by bytes.

-- True when `one` comes before `other`.
local function is_before(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then
      return a < b
    end
  end
  return #one < #other
end
