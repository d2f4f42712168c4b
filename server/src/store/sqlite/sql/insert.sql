insert into job (queue, id, state, at, priority, place, type, bytes, expires, told)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
on conflict do nothing
