std = "luajit"
max_line_length = 100
exclude_files = { "build", ".git" }
files["**/*_spec.lua"] = { std = "+busted" }
files["spec/support"] = { std = "+busted" }
